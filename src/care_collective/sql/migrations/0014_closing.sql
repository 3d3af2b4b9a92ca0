-- Closing the loop: owners are reminded of offers they have not answered, requests that nobody touches end by
-- themselves, and of several nodes one at a time looks after it.

create table care.chores (
  name text not null,
  held_by uuid not null,
  held_until timestamptz not null,
  constraint chores_pkey primary key (name)
);
comment on table care.chores is 'Which process does what only one should do at a time, and until when others leave it to it.';

-- One topic more: whoever relied on the fewer ones reads none of them from here.
-- squawk-ignore ban-drop-constraint
alter table care.outbox drop constraint outbox_topic_check;
alter table care.outbox add constraint outbox_topic_check check (topic in (
  'conversation.opened', 'conversation.read', 'message.sent', 'offer.accepted', 'offer.declined', 'offer.replaced',
  'helper.stepped_back', 'helper.released', 'conversation.closed', 'conversation.reopened', 'request.completed',
  'request.cancelled', 'request.reopened', 'request.expired')) not valid;
alter table care.outbox validate constraint outbox_topic_check;

create index help_requests_idle_idx on public.help_requests (community_id, updated_at)
  where status in ('open', 'in_progress');
create index notifications_offers_idx on public.notifications (community_id, created_at) where kind = 'offer.received';
-- Once an offer, whatever happens.
create unique index notifications_unanswered_key on public.notifications (community_id, user_id, conversation_id)
  where kind = 'offer.unanswered';
create index profiles_coordinators_idx on public.profiles (community_id, user_id)
  where is_coordinator and deleted_at is null;
create index notifications_waiting_idx on public.notifications (community_id, user_id)
  where kind = 'membership.waiting' and read_at is null;
