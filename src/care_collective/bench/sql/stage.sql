-- What the benchmarks stand on, in a scratch database of their own: a community, its people, requests, conversations.
-- Ids are numbers in the shape of a UUID, so that pgbench can name them without a look-up: kind, then number.

create schema bench;

create function bench.id(p_kind bigint, p_number bigint)
returns uuid
immutable
language sql
return ('00000000-0000-4000-8000-' || (p_kind * 100000000000 + p_number)::text)::uuid;

-- The limits of a member are on and out of reach: they are looked up and counted as ever.
create function bench.make_community()
returns uuid
volatile
language sql
begin atomic
  insert into public.communities (id, slug, name, settings)
  values (bench.id(9, 1), 'bench', 'Bench',
    '{"limits": {"conversations_per_hour": 1000000000, "messages_per_minute": 1000000000}}')
  returning id;
end;

create function bench.make_members(p_kind bigint, p_count bigint)
returns void
volatile
language sql
begin atomic
  insert into care.users (id, email)
  select bench.id(p_kind, n), format('member-%s-%s@example.org', p_kind, n)
    from generate_series(1, p_count) as n;
  insert into public.profiles (community_id, user_id, display_name, town, verification_status)
  select bench.id(9, 1), bench.id(p_kind, n), format('Member %s', n), 'Riverside', 'approved'
    from generate_series(1, p_count) as n;
end;

-- Request n is of owner 1 + n mod p_owners.
create function bench.make_requests(p_first bigint, p_last bigint, p_owners bigint)
returns void
volatile
language sql
begin atomic
  insert into public.help_requests (community_id, id, user_id, title, category)
  select bench.id(9, 1), bench.id(3, n), bench.id(2, 1 + n % p_owners), 'Groceries on Friday', 'groceries-meals'
    from generate_series(p_first, p_last) as n;
end;

-- Helpers p_first to p_last talk on p_each of the requests 1 to p_requests each, spread over them. The conversation of
-- helper h on request r is number h * 1000000 + r.
create function bench.make_conversations(
  p_first bigint, p_last bigint, p_each bigint, p_requests bigint, p_owners bigint)
returns void
volatile
language sql
begin atomic
  insert into public.conversations_v2 (community_id, id, help_request_id, requester_id, helper_id, initial_message)
  select bench.id(9, 1), bench.id(4, h * 1000000 + r), bench.id(3, r), bench.id(2, 1 + r % p_owners), bench.id(1, h),
         'Hello, I live two streets away and can help on Friday.'
    from generate_series(1, p_each) as j, generate_series(p_first, p_last) as h,
         lateral (values (1 + (h * p_each + j) % p_requests)) as q (r);
  insert into public.conversation_members
    (community_id, conversation_id, user_id, version, last_read_seq, unread, last_activity_at)
  select bench.id(9, 1), bench.id(4, h * 1000000 + r), u.id, 'v2', 0, 0, now() - make_interval(secs => p_each - j)
    from generate_series(1, p_each) as j, generate_series(p_first, p_last) as h,
         lateral (values (1 + (h * p_each + j) % p_requests)) as q (r),
         lateral (values (bench.id(1, h)), (bench.id(2, 1 + r % p_owners))) as u (id);
end;

create function bench.make_messages(p_helper bigint, p_request bigint, p_owners bigint, p_count integer)
returns void
volatile
language sql
begin atomic
  insert into public.messages_v2 (community_id, conversation_id, seq, sender_id, recipient_id, content)
  select bench.id(9, 1), bench.id(4, p_helper * 1000000 + p_request), n,
         case n % 2 when 0 then bench.id(1, p_helper) else bench.id(2, 1 + p_request % p_owners) end,
         case n % 2 when 1 then bench.id(1, p_helper) else bench.id(2, 1 + p_request % p_owners) end,
         'That works for me. Shall we say four in the afternoon, at the corner by the bakery?'
    from generate_series(1, p_count) as n;
  update public.conversations_v2 c
     set last_seq = p_count
   where c.community_id = bench.id(9, 1)
     and c.id = bench.id(4, p_helper * 1000000 + p_request);
  -- Read by both: what does not add up is a violation, and the guard of the served site would roll V2 back.
  update public.conversation_members m
     set last_read_seq = p_count
   where m.community_id = bench.id(9, 1)
     and m.conversation_id = bench.id(4, p_helper * 1000000 + p_request);
end;
