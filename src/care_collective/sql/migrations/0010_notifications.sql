-- What members are told. A row of public.notifications is written by the transaction that did what it tells; letters
-- and pushes (care.deliveries) are made from these rows later and sent under a lease.

create table public.notifications (
  community_id uuid not null,
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  kind text not null,
  -- Who did it; what it is about. The request's and the conversation's own keys hold them: three look-ups more for each
  -- message would be the dearest part of it.
  actor_id uuid,
  help_request_id uuid,
  conversation_id uuid,
  -- What is written in one conversation and not read yet is one notification.
  count integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  read_at timestamptz,
  -- From when on a letter may be made of it; null: there is none to make, or it is made (delivery_id).
  due_at timestamptz,
  again_at timestamptz,
  delivery_id uuid,
  constraint notifications_pkey primary key (community_id, id),
  constraint notifications_user_fkey foreign key (community_id, user_id)
    references public.profiles (community_id, user_id),
  constraint notifications_kind_check check (kind in (
    'offer.received', 'offer.unanswered', 'offer.accepted', 'offer.declined', 'offer.replaced', 'helper.stepped_back',
    'helper.released', 'message.received', 'conversation.closed', 'conversation.reopened', 'request.completed',
    'request.cancelled', 'request.reopened', 'request.expired', 'membership.waiting', 'membership.approved',
    'membership.rejected')),
  constraint notifications_count_check check (count >= 1),
  constraint notifications_actor_check check (actor_id <> user_id)
);
comment on table public.notifications is
  'What a member is told: one row an event and person, unread messages of a conversation one together. Ids, never words.';
create index notifications_newest_idx on public.notifications (community_id, user_id, updated_at desc, id desc);
create index notifications_unread_idx on public.notifications (community_id, user_id, conversation_id)
  where read_at is null;
create unique index notifications_message_key on public.notifications (community_id, user_id, conversation_id)
  where kind = 'message.received' and read_at is null;
create index notifications_due_idx on public.notifications (due_at) where due_at is not null and read_at is null;
-- For pruning: the table grows at its end, and a block range index costs a write next to nothing.
create index notifications_created_idx on public.notifications
  using brin (created_at) with (pages_per_range = 16, autosummarize = on);

create table public.messaging_preferences (
  community_id uuid not null,
  user_id uuid not null,
  email text not null default 'each',
  -- By the member's own clock; equal ones are no quiet hours.
  quiet_from time not null default '21:00',
  quiet_to time not null default '08:00',
  offers_paused boolean not null default false,
  updated_at timestamptz not null default now(),
  constraint messaging_preferences_pkey primary key (community_id, user_id),
  constraint messaging_preferences_user_fkey foreign key (community_id, user_id)
    references public.profiles (community_id, user_id),
  constraint messaging_preferences_email_check check (email in ('each', 'daily', 'off'))
);
comment on table public.messaging_preferences is
  'How a member wants to be told, and whether they take offers. Who has no row has the defaults.';

create table care.deliveries (
  community_id uuid not null,
  -- The Message-ID is made of it, so that a letter sent twice after a crash is one letter to whoever gets it.
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  channel text not null default 'email',
  kind text not null,
  conversation_id uuid,
  -- It went out within quiet hours.
  urgent boolean not null default false,
  created_at timestamptz not null default now(),
  due_at timestamptz not null,
  attempts integer not null default 0,
  leased_until timestamptz,
  sent_at timestamptz,
  -- Not needed any more: read meanwhile, switched off, nobody to send it to.
  dropped_at timestamptz,
  -- Given up.
  dead_at timestamptz,
  -- A code, never an address or words.
  last_error text,
  constraint deliveries_pkey primary key (community_id, id),
  constraint deliveries_community_fkey foreign key (community_id) references public.communities (id),
  constraint deliveries_channel_check check (channel in ('email', 'push')),
  constraint deliveries_kind_check check (kind in ('notifications', 'digest', 'password_reset')),
  constraint deliveries_attempts_check check (attempts >= 0),
  constraint deliveries_last_error_check check (char_length(last_error) <= 100),
  constraint deliveries_end_check check (num_nonnulls(sent_at, dropped_at, dead_at) <= 1)
);
comment on table care.deliveries is
  'Letters and pushes, each to one member, under a lease until they are sent, dropped or given up.';
create index deliveries_due_idx on care.deliveries (due_at)
  where sent_at is null and dropped_at is null and dead_at is null;
