-- Web push: the browsers that members want to be told by, in the place of letters.

create table care.push_subscriptions (
  community_id uuid not null,
  id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  -- The browser's own address at its maker's push service, and the keys that what is sent there is encrypted for.
  endpoint text not null,
  p256dh text not null,
  auth text not null,
  created_at timestamptz not null default now(),
  -- When the push service last took something for it.
  last_ok_at timestamptz,
  constraint push_subscriptions_pkey primary key (community_id, id),
  -- A browser belongs to whoever turned it on last.
  constraint push_subscriptions_endpoint_key unique (community_id, endpoint),
  constraint push_subscriptions_user_fkey foreign key (community_id, user_id)
    references public.profiles (community_id, user_id),
  constraint push_subscriptions_endpoint_check check (endpoint like 'https://%' and char_length(endpoint) <= 1000),
  constraint push_subscriptions_p256dh_check check (char_length(p256dh) = 87),
  constraint push_subscriptions_auth_check check (char_length(auth) = 22)
);
comment on table care.push_subscriptions is
  'Browsers by which members are told instead of by letters: who knows an endpoint and its keys could write to one.';
create index push_subscriptions_user_idx on care.push_subscriptions (user_id, community_id);
