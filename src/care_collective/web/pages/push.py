"""The script that shows pushes, at the root so that it may stand for every page (static/push-worker.js)."""

from functools import cache
from pathlib import Path

from litestar import Response, Router, get


@cache
def _script() -> bytes:
    return (Path(__file__).parents[1] / "static" / "push-worker.js").read_bytes()


@get("/push-worker.js")
async def worker() -> Response[bytes]:
    """The script. Asked for anew each time, so that a mended one is in force with the next push."""
    return Response(_script(), media_type="text/javascript", headers={"Cache-Control": "no-cache"})


router = Router("/", include_in_schema=False, route_handlers=[worker])
