"""The TypeScript types, judged by the compiler and by supabase-js's own generics."""

import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from npm_harness import SUPABASE_JS, TYPESCRIPT, brought

# Each line under @ts-expect-error has to be refused: the compiler complains where it is not.
PROGRAM = """
import { createClient } from '@supabase/supabase-js'
import type { Database, Json } from './database'

const client = createClient<Database>('http://127.0.0.1:1', 'key')
type Functions = Database['public']['Functions']
type Create = Functions['create_conversation_atomic']['Args']
type Urgency = Database['public']['Tables']['help_requests']['Row']['urgency']

export async function right(id: string): Promise<Json> {
  const made: Create = { p_help_request_id: id, p_helper_id: id, p_initial_message: 'Hello, I can help.' }
  const { data, error } = await client.rpc('create_conversation_atomic', made)
  if (error) throw error
  const seen: Functions['get_conversation_v2']['Returns'] = data
  await client.rpc('send_message_v2', { p_conversation_id: id, p_sender_id: id, p_content: 'Thanks' })
  await client.rpc('list_conversations')
  await client.rpc('list_conversations', { p_limit: 20, p_cursor: null })
  const urgency: Urgency = 'urgent'
  return [seen, urgency]
}

export async function wrong(id: string): Promise<void> {
  // @ts-expect-error no such function
  await client.rpc('delete_everything', { p_id: id })
  // @ts-expect-error an argument is missing
  await client.rpc('send_message_v2', { p_conversation_id: id, p_sender_id: id })
  // @ts-expect-error an argument too many
  const read: Functions['mark_read']['Args'] = { p_conversation_id: id, p_seq: 1, p_user_id: id }
  // @ts-expect-error of another type
  await client.rpc('mark_read', { p_conversation_id: id, p_seq: '1' })
  // @ts-expect-error the default is no null
  await client.rpc('list_conversations', { p_limit: null })
  // @ts-expect-error no such table
  await client.from('users').select()
  // @ts-expect-error tables are written by functions only
  await client.from('profiles').insert({ display_name: 'Ann' })
  // @ts-expect-error and never changed
  await client.from('profiles').update({ verification_status: 'approved' })
  // @ts-expect-error a check forbids it
  const urgency: Urgency = 'yesterday'
  void [read, urgency]
}
"""
OPTIONS = ("--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the compiler and the client from npm."""
    return brought(tmp_path_factory, TYPESCRIPT, SUPABASE_JS)


def compiled(project: Path, program: str, types: str) -> list[str]:
    """What the compiler complains of."""
    (project / "database.ts").write_text(types)
    (project / "program.ts").write_text(program)
    done = subprocess.run(
        ["node_modules/.bin/tsc", *OPTIONS, "--skipLibCheck", "program.ts"],
        cwd=project, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_supabase_js_takes_the_types_and_refuses_what_is_wrong(project: Path) -> None:
    types = (files("care_collective") / "schema" / "database.ts").read_text("utf-8")
    assert compiled(project, PROGRAM, types) == []
    # Without the types nothing wrong is refused, so it is they that refuse it.
    loose = compiled(project, PROGRAM, "export type Json = any; export type Database = any")
    assert len([line for line in loose if "Unused '@ts-expect-error'" in line]) == PROGRAM.count("@ts-expect-error")
