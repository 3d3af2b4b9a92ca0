-- Communities, people, help requests, both messaging engines, and the private machinery around them.
-- community_id leads every key, so that the tables can later be spread by it (rules 15 and 16).

-- ------------------------------------------------------------------------------------------- deployment-wide

create table public.communities (
  id uuid not null default gen_random_uuid(),
  slug text not null,
  hosts text[] not null default '{}',
  name text not null,
  time_zone text not null default 'UTC',
  locale text not null default 'en',
  emergency_line text,
  settings jsonb not null default '{}',
  is_probe boolean not null default false,
  created_at timestamptz not null default now(),
  constraint communities_pkey primary key (id),
  constraint communities_slug_key unique (slug),
  constraint communities_slug_check check (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  constraint communities_name_check check (care.is_text(name, 1, 80)),
  constraint communities_settings_check check (jsonb_typeof(settings) = 'object')
);
comment on table public.communities is 'One row a mutual-aid community; everything its members make carries its id.';

create table care.users (
  id uuid not null default gen_random_uuid(),
  email text not null,
  created_at timestamptz not null default now(),
  deleted_at timestamptz,
  constraint users_pkey primary key (id),
  constraint users_email_key unique (email),
  constraint users_email_check check (email = lower(email) and char_length(email) between 3 and 254)
);
comment on table care.users is 'Who can sign in. A person is one user and has one profile in each community.';

create table care.credentials (
  user_id uuid not null,
  kind text not null,
  secret text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint credentials_pkey primary key (user_id, kind),
  constraint credentials_user_fkey foreign key (user_id) references care.users (id),
  constraint credentials_kind_check check (kind in ('password'))
);
comment on table care.credentials is 'How a user proves who they are; for a password its argon2id hash.';

create table care.sessions (
  id_hash bytea not null,
  user_id uuid not null,
  community_id uuid not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  constraint sessions_pkey primary key (id_hash),
  constraint sessions_user_fkey foreign key (user_id) references care.users (id),
  constraint sessions_community_fkey foreign key (community_id) references public.communities (id),
  constraint sessions_id_hash_check check (octet_length(id_hash) = 32)
);
create index sessions_user_idx on care.sessions (user_id);
create index sessions_expires_idx on care.sessions (expires_at);
comment on table care.sessions is 'Signed-in browsers, by the SHA-256 of the cookie: a copy of this table opens no session.';

create table care.sign_in_attempts (
  account text not null,
  address text not null,
  window_start timestamptz not null,
  used integer not null,
  constraint sign_in_attempts_pkey primary key (account, address)
);
comment on table care.sign_in_attempts is 'Sign-ins counted per pair of account and address; the account stands as a hash.';

create table care.operators (
  user_id uuid not null,
  granted_by text not null,
  created_at timestamptz not null default now(),
  constraint operators_pkey primary key (user_id),
  constraint operators_user_fkey foreign key (user_id) references care.users (id)
);
comment on table care.operators is 'Who runs the deployment. Made on the command line only.';

-- ----------------------------------------------------------------------------------------------------- people

create table public.profiles (
  community_id uuid not null,
  user_id uuid not null,
  display_name text not null,
  town text,
  verification_status text not null default 'pending',
  is_coordinator boolean not null default false,
  application_words text,
  decision_reason text,
  decided_by uuid,
  decided_at timestamptz,
  time_zone text,
  locale text,
  created_at timestamptz not null default now(),
  deleted_at timestamptz,
  constraint profiles_pkey primary key (community_id, user_id),
  constraint profiles_community_fkey foreign key (community_id) references public.communities (id),
  constraint profiles_display_name_check check (care.is_text(display_name, 1, 80)),
  constraint profiles_town_check check (care.is_text(town, 1, 80)),
  constraint profiles_application_words_check check (care.is_text(application_words, 1, 500)),
  constraint profiles_decision_reason_check check (care.is_text(decision_reason, 1, 500)),
  constraint profiles_verification_status_check check (verification_status in ('pending', 'approved', 'rejected'))
);
comment on table public.profiles is 'A member of a community. Every write locks its author''s row here first (rule 11).';

create table public.user_restrictions (
  community_id uuid not null,
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  kind text not null,
  why text not null,
  until timestamptz,
  created_by uuid,
  created_at timestamptz not null default now(),
  lifted_at timestamptz,
  lifted_by uuid,
  constraint user_restrictions_pkey primary key (community_id, id),
  constraint user_restrictions_user_fkey foreign key (community_id, user_id)
    references public.profiles (community_id, user_id),
  constraint user_restrictions_kind_check check (kind in ('limited', 'suspended', 'banned')),
  constraint user_restrictions_why_check check (care.is_text(why, 1, 500)),
  constraint user_restrictions_until_check check (kind <> 'suspended' or until is not null)
);
create index user_restrictions_user_idx on public.user_restrictions (community_id, user_id) where lifted_at is null;
comment on table public.user_restrictions is 'What a coordinator has taken from a member, why and until when. Kept when lifted.';

create table public.user_blocks (
  community_id uuid not null,
  blocker_id uuid not null,
  blocked_id uuid not null,
  created_at timestamptz not null default now(),
  constraint user_blocks_pkey primary key (community_id, blocker_id, blocked_id),
  constraint user_blocks_blocker_fkey foreign key (community_id, blocker_id)
    references public.profiles (community_id, user_id),
  constraint user_blocks_blocked_fkey foreign key (community_id, blocked_id)
    references public.profiles (community_id, user_id),
  constraint user_blocks_other_check check (blocker_id <> blocked_id)
);
create index user_blocks_blocked_idx on public.user_blocks (community_id, blocked_id, blocker_id);
comment on table public.user_blocks is 'Who wants nothing to do with whom. Works both ways and is never disclosed.';

-- ---------------------------------------------------------------------------------------------- help requests

create table public.help_requests (
  community_id uuid not null,
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  title text not null,
  description text,
  category text not null,
  urgency text not null default 'normal',
  status text not null default 'open',
  status_reason text,
  helper_id uuid,
  exchange_offer text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  in_progress_at timestamptz,
  completed_at timestamptz,
  cancelled_at timestamptz,
  closed_at timestamptz,
  constraint help_requests_pkey primary key (community_id, id),
  constraint help_requests_user_fkey foreign key (community_id, user_id)
    references public.profiles (community_id, user_id),
  constraint help_requests_helper_fkey foreign key (community_id, helper_id)
    references public.profiles (community_id, user_id),
  constraint help_requests_title_check check (care.is_text(title, 5, 100)),
  constraint help_requests_description_check check (care.is_text(description, 1, 1000)),
  constraint help_requests_exchange_offer_check check (care.is_text(exchange_offer, 1, 300)),
  constraint help_requests_status_reason_check check (care.is_text(status_reason, 1, 500)),
  constraint help_requests_category_check check (category in (
    'health-caregiving', 'groceries-meals', 'transportation-errands', 'household-yard',
    'technology-administrative', 'social-companionship', 'other')),
  constraint help_requests_urgency_check check (urgency in ('normal', 'urgent', 'critical')),
  constraint help_requests_status_check check (status in ('open', 'in_progress', 'completed', 'cancelled', 'closed')),
  constraint help_requests_helper_check check (helper_id <> user_id),
  constraint help_requests_in_progress_check check (status <> 'in_progress' or helper_id is not null)
);
create index help_requests_newest_idx on public.help_requests (community_id, created_at desc, id desc);
create index help_requests_owner_idx on public.help_requests (community_id, user_id, created_at desc, id desc);
create index help_requests_helper_idx on public.help_requests (community_id, helper_id) where helper_id is not null;
comment on table public.help_requests is 'What a neighbour asks for. Its row lock orders offers on it against each other and against its end.';

-- ----------------------------------------------------------------------------------------- messaging, engine V1

create table public.conversations (
  community_id uuid not null,
  id uuid not null default gen_random_uuid(),
  help_request_id uuid not null,
  created_by uuid not null,
  requester_id uuid not null,
  status text not null default 'active',
  status_by uuid,
  decline_reason text,
  last_seq integer not null default -1,
  last_message_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  hidden_at timestamptz,
  constraint conversations_pkey primary key (community_id, id),
  constraint conversations_pair_key unique (community_id, help_request_id, created_by),
  constraint conversations_request_fkey foreign key (community_id, help_request_id)
    references public.help_requests (community_id, id),
  constraint conversations_created_by_fkey foreign key (community_id, created_by)
    references public.profiles (community_id, user_id),
  constraint conversations_requester_fkey foreign key (community_id, requester_id)
    references public.profiles (community_id, user_id),
  constraint conversations_people_check check (requester_id <> created_by),
  constraint conversations_status_check check (status in ('active', 'held', 'declined', 'closed')),
  constraint conversations_decline_reason_check check (care.is_text(decline_reason, 1, 500)),
  constraint conversations_last_seq_check check (last_seq >= -1)
);
comment on table public.conversations is 'V1: opened in three commits. last_seq -1 is an orphan, a conversation without a message.';

create table public.conversation_participants (
  community_id uuid not null,
  conversation_id uuid not null,
  user_id uuid not null,
  joined_at timestamptz not null default now(),
  left_at timestamptz,
  constraint conversation_participants_pkey primary key (community_id, conversation_id, user_id),
  constraint conversation_participants_conversation_fkey foreign key (community_id, conversation_id)
    references public.conversations (community_id, id),
  constraint conversation_participants_user_fkey foreign key (community_id, user_id)
    references public.profiles (community_id, user_id)
);
comment on table public.conversation_participants is 'V1: the two people of a conversation, written by its second step.';

create table public.messages (
  community_id uuid not null,
  id uuid not null default gen_random_uuid(),
  conversation_id uuid not null,
  seq integer not null,
  sender_id uuid not null,
  recipient_id uuid not null,
  content text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  hidden_at timestamptz,
  constraint messages_pkey primary key (community_id, id),
  constraint messages_seq_key unique (community_id, conversation_id, seq),
  constraint messages_conversation_fkey foreign key (community_id, conversation_id)
    references public.conversations (community_id, id),
  constraint messages_seq_check check (seq >= 0),
  constraint messages_people_check check (sender_id <> recipient_id),
  constraint messages_content_check check (care.is_text(content, 1, 1000))
);
comment on table public.messages is 'V1: what was written, the first message (seq 0) among them.';

-- ----------------------------------------------------------------------------------------- messaging, engine V2

create table public.conversations_v2 (
  community_id uuid not null,
  id uuid not null default gen_random_uuid(),
  help_request_id uuid not null,
  requester_id uuid not null,
  helper_id uuid not null,
  initial_message text not null,
  status text not null default 'active',
  status_by uuid,
  decline_reason text,
  last_seq integer not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  hidden_at timestamptz,
  constraint conversations_v2_pkey primary key (community_id, id),
  constraint conversations_v2_pair_key unique (community_id, help_request_id, helper_id),
  constraint conversations_v2_request_fkey foreign key (community_id, help_request_id)
    references public.help_requests (community_id, id),
  constraint conversations_v2_requester_fkey foreign key (community_id, requester_id)
    references public.profiles (community_id, user_id),
  constraint conversations_v2_helper_fkey foreign key (community_id, helper_id)
    references public.profiles (community_id, user_id),
  constraint conversations_v2_people_check check (requester_id <> helper_id),
  constraint conversations_v2_initial_message_check check (care.is_text(initial_message, 10, 1000)),
  constraint conversations_v2_status_check check (status in ('active', 'held', 'declined', 'closed')),
  constraint conversations_v2_decline_reason_check check (care.is_text(decline_reason, 1, 500)),
  constraint conversations_v2_last_seq_check check (last_seq >= 0)
);
comment on table public.conversations_v2 is 'V2: a conversation that carries its own first message (seq 0), so it cannot exist without one.';

create table public.messages_v2 (
  community_id uuid not null,
  id uuid not null default gen_random_uuid(),
  conversation_id uuid not null,
  seq integer not null,
  sender_id uuid not null,
  recipient_id uuid not null,
  content text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  hidden_at timestamptz,
  constraint messages_v2_pkey primary key (community_id, id),
  constraint messages_v2_seq_key unique (community_id, conversation_id, seq),
  constraint messages_v2_conversation_fkey foreign key (community_id, conversation_id)
    references public.conversations_v2 (community_id, id),
  constraint messages_v2_seq_check check (seq >= 1),
  constraint messages_v2_people_check check (sender_id <> recipient_id),
  constraint messages_v2_content_check check (care.is_text(content, 1, 1000))
);
comment on table public.messages_v2 is 'V2: follow-ups, seq 1 and on.';

-- ------------------------------------------------------------------------------------- messaging, both engines

create table public.conversation_members (
  community_id uuid not null,
  conversation_id uuid not null,
  user_id uuid not null,
  version text not null,
  last_read_seq integer not null default -1,
  unread integer not null default 0,
  last_activity_at timestamptz not null,
  muted_until timestamptz,
  archived_at timestamptz,
  constraint conversation_members_pkey primary key (community_id, conversation_id, user_id),
  constraint conversation_members_version_check check (version in ('v1', 'v2')),
  constraint conversation_members_last_read_seq_check check (last_read_seq >= -1),
  constraint conversation_members_unread_check check (unread >= 0)
);
create index conversation_members_inbox_idx
  on public.conversation_members (community_id, user_id, last_activity_at desc, conversation_id desc);
-- No foreign key: the conversation is in one of two tables, and its people are held by that table's own keys.
comment on table public.conversation_members is 'Each person''s own view of a conversation of either engine; the inbox is one scan of it.';

-- -------------------------------------------------------------------------------------------- private machinery

create table care.outbox (
  community_id uuid not null,
  id uuid not null default gen_random_uuid(),
  topic text not null,
  help_request_id uuid not null,
  conversation_id uuid,
  seq integer,
  actor_id uuid not null,
  created_at timestamptz not null default now(),
  published_at timestamptz,
  constraint outbox_pkey primary key (community_id, id),
  constraint outbox_community_fkey foreign key (community_id) references public.communities (id),
  constraint outbox_topic_check check (topic in (
    'conversation.opened', 'message.sent', 'offer.accepted', 'offer.declined', 'offer.replaced', 'helper.stepped_back',
    'helper.released', 'conversation.closed', 'conversation.reopened', 'request.completed', 'request.cancelled',
    'request.reopened'))
);
create index outbox_unpublished_idx on care.outbox (created_at) where published_at is null;
comment on table care.outbox is 'What others are to be told, written in the transaction that did it (rule 13). Ids, never words.';

create table care.idempotency_keys (
  community_id uuid not null,
  user_id uuid not null,
  key text not null,
  fingerprint bytea not null,
  answer jsonb not null,
  created_at timestamptz not null default now(),
  constraint idempotency_keys_pkey primary key (community_id, user_id, key),
  constraint idempotency_keys_community_fkey foreign key (community_id) references public.communities (id)
);
create index idempotency_keys_created_idx on care.idempotency_keys (created_at);
comment on table care.idempotency_keys is 'The success answer of a write by its key, so that a retry is answered and not repeated (rule 12).';

create table care.rate_counters (
  community_id uuid not null,
  user_id uuid not null,
  kind text not null,
  window_start timestamptz not null,
  used integer not null,
  constraint rate_counters_pkey primary key (community_id, user_id, kind),
  constraint rate_counters_community_fkey foreign key (community_id) references public.communities (id),
  constraint rate_counters_kind_check check (kind in ('conversations', 'messages', 'messages_limited'))
);
comment on table care.rate_counters is 'What a member has used of each limit in the window that began with their first use.';

-- What the gates of functions/identity.sql, keys.sql and conversations.sql hand on.
create type care.admission as (refusal jsonb, community_id uuid, user_id uuid, restriction text);
create type care.recollection as (answer jsonb, key text, fingerprint bytea);
create type care.offer as (
  answer jsonb, community_id uuid, user_id uuid, requester_id uuid, message text, orphan_id uuid, key text,
  fingerprint bytea
);
create type care.thread as (
  id uuid, version text, help_request_id uuid, requester_id uuid, helper_id uuid, status text, shown_status text,
  status_by uuid, last_seq integer
);
