-- Closing the loop (product.md, life of a request): what one node does from time to time, a community a call.

create or replace function care.hold_chore(p_name text, p_holder uuid, p_seconds integer)
returns boolean
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_until timestamptz := v_now + make_interval(secs => p_seconds);
begin
  insert into care.chores as c (name, held_by, held_until)
  values (p_name, p_holder, v_until)
  on conflict on constraint chores_pkey do update
    set held_by = excluded.held_by,
        held_until = excluded.held_until
  where c.held_by = excluded.held_by
     or c.held_until < v_now;
  return found;
end
$$;
comment on function care.hold_chore(text, uuid, integer) is
  'Takes a chore for p_seconds, or keeps it; false while another process has it.';

create or replace function care.list_tended()
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (select coalesce(jsonb_agg(c.id order by c.id), '[]') from public.communities c where not c.is_probe);
end
$$;
comment on function care.list_tended() is 'The communities that tend_requests is called for, one after another.';

create or replace function care.tend_requests(p_community_id uuid, p_limit integer)
returns integer
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  return greatest(care.remind_of_offers(p_community_id, p_limit), care.expire_requests(p_community_id, p_limit));
end
$$;
comment on function care.tend_requests(uuid, integer) is
  'Reminds owners of unanswered offers and ends requests that nobody touches, up to p_limit of each; of which more, how many. p_limit: there may be more.';

create or replace function care.remind_of_offers(p_community_id uuid, p_limit integer)
returns integer
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_from timestamptz := v_now - interval '14 days';
  v_to timestamptz := v_now - interval '3 days';
  v_offer record;
  v_told integer := 0;
begin
  for v_offer in
    select t.id, t.requester_id, t.helper_id, t.help_request_id
      from public.notifications n
      join care.threads t
        on t.community_id = p_community_id
       and t.id = n.conversation_id
      join public.help_requests r
        on r.community_id = p_community_id
       and r.id = t.help_request_id
     where n.community_id = p_community_id
       and n.kind = 'offer.received'
       -- What is older was reminded of, or came while nobody looked: by now it would only surprise.
       and n.created_at between v_from and v_to
       and t.status = 'active'
       and r.status = 'open'
       and not exists (
         select 1
           from care.thread_messages m
          where m.community_id = p_community_id
            and m.conversation_id = t.id
            and m.sender_id = t.requester_id)
       and not exists (
         select 1
           from public.notifications e
          where e.community_id = p_community_id
            and e.user_id = t.requester_id
            and e.conversation_id = t.id
            and e.kind = 'offer.unanswered')
       -- An owner who is gone is told nothing; whom they could not accept is not worth a reminder.
       and exists (
         select 1
           from public.profiles o
          where o.community_id = p_community_id
            and o.user_id = t.requester_id
            and o.deleted_at is null)
       and (care.allow(p_community_id, t.helper_id, 'write')).refusal is null
       and not care.is_blocked(p_community_id, t.requester_id, t.helper_id)
     order by n.created_at, n.id
     limit p_limit
  loop
    perform care.notify(p_community_id, v_offer.requester_id, 'offer.unanswered', v_offer.helper_id,
      v_offer.help_request_id, v_offer.id);
    v_told := v_told + 1;
  end loop;
  return v_told;
end
$$;
comment on function care.remind_of_offers(uuid, integer) is
  'Reminds owners, once an offer, of active offers of 3 days and more in which they have written nothing; how many.';

create or replace function care.expire_requests(p_community_id uuid, p_limit integer)
returns integer
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_since timestamptz := v_now - interval '30 days';
  v_request record;
  v_ended integer := 0;
begin
  for v_request in
    select r.id, r.user_id
      from public.help_requests r
     where r.community_id = p_community_id
       and r.status in ('open', 'in_progress')
       and r.updated_at < v_since
       and not exists (
         select 1
           from care.threads t
          where t.community_id = p_community_id
            and t.help_request_id = r.id
            and t.updated_at >= v_since)
     order by r.updated_at, r.id
     limit p_limit
       for no key update of r skip locked
  loop
    update public.help_requests r
       set status = 'cancelled',
           status_reason = 'expired',
           cancelled_at = v_now,
           updated_at = v_now
     where r.community_id = p_community_id
       and r.id = v_request.id;
    perform care.announce(p_community_id, v_request.user_id, 'request.expired', v_request.id, null);
    perform care.notify(p_community_id, v_request.user_id, 'request.expired', null, v_request.id, null);
    perform care.notify_helpers(p_community_id, 'request.expired', v_request.user_id, v_request.id);
    v_ended := v_ended + 1;
  end loop;
  return v_ended;
end
$$;
comment on function care.expire_requests(uuid, integer) is
  'Cancels, with reason expired, requests without any activity for 30 days, in themselves or in a conversation on them; tells both sides; how many.';
