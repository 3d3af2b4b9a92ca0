-- The end of V1: conversations that were moved whole into V2, and the day from which off means paused.

-- What a first message had of its own in V1. Null where V2 opened the conversation: it is then the conversation's.
alter table public.conversations_v2 add column initial_message_id uuid;
alter table public.conversations_v2 add column initial_message_at timestamptz;
alter table public.conversations_v2 add column initial_message_updated_at timestamptz;

create table care.legacy_moves (
  community_id uuid not null,
  conversation_id uuid not null,
  opened_at timestamptz not null,
  moved_at timestamptz not null default now(),
  moved_by text not null,
  last_seq integer not null,
  digest bytea not null,
  participants jsonb not null,
  constraint legacy_moves_pkey primary key (community_id, conversation_id),
  constraint legacy_moves_conversation_fkey foreign key (community_id, conversation_id)
    references public.conversations_v2 (community_id, id),
  constraint legacy_moves_last_seq_check check (last_seq >= 0),
  constraint legacy_moves_digest_check check (octet_length(digest) = 32)
);
comment on table care.legacy_moves is
  'Conversations moved from V1: when, by whom, how many messages, the SHA-256 of what was written, and when its two people joined and left.';

-- Beside the flag, so that a change of it is told, kept and followed as every other.
alter table care.rollout_flags add column retired_at timestamptz;
-- It comes back wider in the next statement.
-- squawk-ignore ban-drop-constraint
alter table care.rollout_changes drop constraint rollout_changes_action_check;
alter table care.rollout_changes add constraint rollout_changes_action_check check (action in (
  'set', 'kill', 'trip', 'warn', 'resume', 'cohort_add', 'cohort_remove', 'rule', 'retire', 'unretire')) not valid;
alter table care.rollout_changes validate constraint rollout_changes_action_check;
