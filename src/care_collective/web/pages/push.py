"""The script that shows pushes, at the root so that it may stand for every page (static/push-worker.js)."""

from litestar import Response, Router, get

from care_collective.web.assets import FILES


@get("/push-worker.js")
async def worker() -> Response[bytes]:
    """The script. Asked for anew each time, so that a mended one is in force with the next push."""
    return Response(
        FILES["push-worker.js"].content, media_type="text/javascript", headers={"Cache-Control": "no-cache"}
    )


router = Router("/", include_in_schema=False, route_handlers=[worker])
