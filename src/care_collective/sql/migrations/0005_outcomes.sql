-- What became of every attempt to open a conversation, how long calls take, and what members tell of problems.
-- Rollout tables (contract.md, section 2): they look across communities, so no key of theirs begins with one.

create table care.engine_outcomes (
  id uuid not null default gen_random_uuid(),
  community_id uuid,
  help_request_id uuid not null,
  user_id uuid not null,
  version text not null,
  endpoint text not null,
  opened_at timestamptz not null,
  closed_at timestamptz,
  success boolean,
  code text,
  kind text not null,
  duration_ms double precision not null,
  node_id uuid not null,
  reference text,
  retries integer not null default 0,
  judged_at timestamptz,
  constraint engine_outcomes_pkey primary key (id),
  constraint engine_outcomes_version_check check (version in ('v1', 'v2')),
  constraint engine_outcomes_kind_check check (kind in ('success', 'failure', 'answer', 'shared'))
);
-- No foreign keys: an attempt is counted whatever it named, and its row must not wait for another's lock.
create index engine_outcomes_pair_idx on care.engine_outcomes (user_id, help_request_id);
create index engine_outcomes_opened_idx on care.engine_outcomes (opened_at);
create index engine_outcomes_unjudged_idx on care.engine_outcomes (version, opened_at)
  where judged_at is null and kind in ('success', 'failure');
comment on table care.engine_outcomes is
  'One row an attempt: a helper and a request in one engine. success is null for answers and shared faults; closed_at is null while a success within 60 s can still change it, and past that it counts as closed.';

create table care.engine_minutes (
  node_id uuid not null,
  slot integer not null,
  minute timestamptz not null,
  version text not null,
  verb text not null,
  code text not null,
  calls integer not null,
  histogram integer[] not null,
  constraint engine_minutes_pkey primary key (node_id, slot, version, verb, code),
  constraint engine_minutes_version_check check (version in ('v1', 'v2', 'both')),
  constraint engine_minutes_verb_check check (verb in ('open', 'send', 'read'))
);
create index engine_minutes_minute_idx on care.engine_minutes (minute);
comment on table care.engine_minutes is
  'Calls a minute of each process, by code and by how long they took (care.histogram_bounds). Absolute counts: a flush written twice is the same. Sends and reads are both engines'': one path serves them.';

create table care.engine_writers (
  node_id uuid not null,
  last_event bigint not null,
  dropped bigint not null default 0,
  seen_at timestamptz not null,
  constraint engine_writers_pkey primary key (node_id)
);
comment on table care.engine_writers is
  'How far the attempts of each process are written, and how many it had to drop: what is sent again is seen by its number.';

-- ---------------------------------------------------------------------------------------------- what members tell

create table care.problem_reports (
  community_id uuid not null,
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  conversation_id uuid,
  help_request_id uuid,
  version text,
  code text,
  reference text,
  words text,
  created_at timestamptz not null default now(),
  constraint problem_reports_pkey primary key (community_id, id),
  constraint problem_reports_user_fkey foreign key (community_id, user_id)
    references public.profiles (community_id, user_id),
  constraint problem_reports_version_check check (version in ('v1', 'v2')),
  constraint problem_reports_code_check check (care.is_text(code, 1, 60)),
  constraint problem_reports_reference_check check (care.is_text(reference, 1, 100)),
  constraint problem_reports_words_check check (care.is_text(words, 1, 500))
);
create index problem_reports_created_idx on care.problem_reports (created_at);
comment on table care.problem_reports is
  'A member could not open or use a conversation and said so; version is the engine it was about, where that is known.';

-- It comes back wider in the next statement.
-- squawk-ignore ban-drop-constraint
alter table care.rate_counters drop constraint rate_counters_kind_check;
alter table care.rate_counters add constraint rate_counters_kind_check
  check (kind in ('conversations', 'messages', 'messages_limited', 'problems')) not valid;
alter table care.rate_counters validate constraint rate_counters_kind_check;

-- The numbers show how many orphans there are: found by this index, whatever the size of the table.
create index conversations_orphan_idx on public.conversations (community_id, created_at) where last_seq < 0;
