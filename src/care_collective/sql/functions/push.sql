-- Web push: which browsers members are told by, and what becomes of a push. It is planned and leased as letters are.

create or replace function care.check_subscription(p_endpoint text, p_p256dh text, p_auth text)
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return case
    when p_endpoint is null or char_length(p_endpoint) > 1000
      or p_endpoint !~ '^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[!-~]*$' then
      care.invalid('endpoint', 'This is no address of a push service. Turn notices on again.')
    -- 65 bytes that begin with 4, a point of the curve, and 16 bytes: base64url without padding.
    when p_p256dh is null or p_p256dh !~ '^B[A-Za-z0-9_-]{85}[AEIMQUYcgkosw048]$' then
      care.invalid('p256dh', 'This is no key of a browser. Turn notices on again.')
    when p_auth is null or p_auth !~ '^[A-Za-z0-9_-]{21}[AQgw]$' then
      care.invalid('auth', 'This is no key of a browser. Turn notices on again.')
  end;
end
$$;
comment on function care.check_subscription(text, text, text) is
  'The refusal of what no browser hands out for web push, or null. Whether its address is a public one is seen when something is sent.';

create or replace function public.add_push_subscription(p_endpoint text, p_p256dh text, p_auth text)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_now timestamptz;
  v_most integer;
begin
  -- How one is told is one's own also while one may not write to others.
  v_me := care.begin_write(care.caller(), 'read', 'add_push', jsonb_build_array(p_endpoint, p_p256dh, p_auth),
    care.check_subscription(p_endpoint, p_p256dh, p_auth));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_now := clock_timestamp();
  v_most := 10;
  -- Where another member used this browser before, it tells them no more.
  insert into care.push_subscriptions (community_id, user_id, endpoint, p256dh, auth, created_at)
  values (v_me.community_id, v_me.user_id, p_endpoint, p_p256dh, p_auth, v_now)
  on conflict on constraint push_subscriptions_endpoint_key do update
    set user_id = excluded.user_id,
        p256dh = excluded.p256dh,
        auth = excluded.auth,
        created_at = excluded.created_at,
        last_ok_at = null;
  -- The one that was of no use for longest gives way: nobody can turn off a telephone that they have lost.
  delete from care.push_subscriptions s
   where s.community_id = v_me.community_id
     and s.user_id = v_me.user_id
     and s.id in (
       select o.id
         from care.push_subscriptions o
        where o.community_id = v_me.community_id
          and o.user_id = v_me.user_id
        order by greatest(o.created_at, o.last_ok_at) desc, o.id
       offset v_most);
  return care.remember(v_me, jsonb_build_object('success', true));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('add_push_subscription', sqlstate, sqlerrm);
end
$$;
comment on function public.add_push_subscription(text, text, text) is
  'From now on tells the caller by web push to this browser instead of by letters; up to 10 browsers, an eleventh replaces the one used least lately.';

create or replace function public.remove_push_subscription(p_endpoint text)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
begin
  v_me := care.begin_write(care.caller(), 'own', 'remove_push', jsonb_build_array(p_endpoint),
    case when p_endpoint is null then care.invalid('endpoint', 'Say which browser.') end);
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  delete from care.push_subscriptions s
   where s.community_id = v_me.community_id
     and s.user_id = v_me.user_id
     and s.endpoint = p_endpoint;
  return care.remember(v_me, jsonb_build_object('success', true));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('remove_push_subscription', sqlstate, sqlerrm);
end
$$;
comment on function public.remove_push_subscription(text) is
  'Tells the caller no more by web push to this browser, where it did.';

create or replace function public.list_push_subscriptions()
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_me care.admission;
begin
  v_me := care.identify(care.caller(), 'read');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  return jsonb_build_object('success', true, 'subscriptions', (
    select coalesce(jsonb_agg(jsonb_build_object(
             'digest', encode(sha256(convert_to(s.endpoint, 'UTF8')), 'hex'), 'created_at', s.created_at,
             'last_ok_at', s.last_ok_at) order by s.created_at, s.id), '[]')
      from care.push_subscriptions s
     where s.community_id = v_me.community_id
       and s.user_id = v_me.user_id));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('list_push_subscriptions', sqlstate, sqlerrm);
end
$$;
comment on function public.list_push_subscriptions() is
  'The browsers that the caller is told by: the SHA-256 of each endpoint, which a browser compares with its own, since when, and when one was last reached.';

create or replace function care.subscriptions_of(p_community_id uuid, p_user_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'id', s.id, 'endpoint', s.endpoint, 'p256dh', s.p256dh, 'auth', s.auth) order by s.created_at, s.id), '[]')
      from care.push_subscriptions s
     where s.community_id = p_community_id
       and s.user_id = p_user_id);
end
$$;
comment on function care.subscriptions_of(uuid, uuid) is 'Where a member''s pushes go, for who sends them.';

create or replace function care.settle_push(
  p_community_id uuid, p_id uuid, p_outcome text, p_error text, p_jitter double precision, p_reached uuid[],
  p_gone uuid[], p_now timestamptz default null)
returns text
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  -- 1, 4 and 16 minutes: what a push service does not take meanwhile is told by a letter.
  v_most constant integer := 4;
  v_user_id uuid;
  v_delivery care.deliveries;
begin
  select d.user_id
    into v_user_id
    from care.deliveries d
   where d.community_id = p_community_id
     and d.id = p_id;
  perform 1
     from public.profiles p
    where p.community_id = p_community_id
      and p.user_id = v_user_id
      for no key update;
  delete from care.push_subscriptions s
   where s.community_id = p_community_id
     and s.user_id = v_user_id
     and s.id = any (p_gone);
  update care.push_subscriptions s
     set last_ok_at = v_now
   where s.community_id = p_community_id
     and s.user_id = v_user_id
     and s.id = any (p_reached);
  select d.*
    into v_delivery
    from care.deliveries d
   where d.community_id = p_community_id
     and d.id = p_id
     and d.channel = 'push'
     and d.sent_at is null
     and d.dropped_at is null
     and d.dead_at is null
     for no key update;
  if not found then
    return null;
  end if;
  if p_outcome = 'refused' or (p_outcome = 'retry' and v_delivery.attempts + 1 >= v_most) then
    return care.tell_by_letter(v_delivery, v_now);
  end if;
  return care.settle_delivery(p_community_id, p_id, p_outcome, p_error, p_jitter, v_now);
end
$$;
comment on function care.settle_push(uuid, uuid, text, text, double precision, uuid[], uuid[], timestamptz) is
  'Notes what came of a leased push, as settle_delivery does, and of its member''s browsers: which were reached and which are there no more. What reaches none goes out as a letter: letter, or dropped where none is wanted.';

create or replace function care.tell_by_letter(p_delivery care.deliveries, p_now timestamptz)
returns text
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_community_id uuid := p_delivery.community_id;
  v_user_id uuid := p_delivery.user_id;
  v_preferences public.messaging_preferences := care.preferences_of(v_community_id, v_user_id);
  v_channel text := care.channel_of(v_community_id, v_user_id, false);
  v_ids uuid[];
begin
  if v_channel is not null and v_preferences.email <> 'daily' then
    update care.deliveries d
       set channel = v_channel,
           attempts = 0,
           leased_until = null,
           due_at = p_now,
           last_error = null
     where d.community_id = v_community_id
       and d.id = p_delivery.id;
    return 'letter';
  end if;
  if v_channel is not null then
    v_ids := array(
      select n.id
        from public.notifications n
       where n.community_id = v_community_id
         and n.user_id = v_user_id
         and n.delivery_id = p_delivery.id
         and n.read_at is null);
    perform care.plan_digest(v_community_id, v_user_id, v_channel, v_ids, p_now,
      care.digest_time(v_community_id, v_user_id, p_now));
  end if;
  update care.deliveries d
     set dropped_at = p_now,
         leased_until = null
   where d.community_id = v_community_id
     and d.id = p_delivery.id;
  return case when v_channel is null then 'dropped' else 'letter' end;
end
$$;
comment on function care.tell_by_letter(care.deliveries, timestamptz) is
  'Makes a letter of a locked push whose member is locked, too, or puts it into their daily one; dropped where they want none.';

create or replace function care.forward_pushes(p_limit integer, p_now timestamptz)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_late timestamptz := p_now - interval '10 minutes';
  v_delivery care.deliveries;
begin
  for v_delivery in
    select d.*
      from care.deliveries d
      join public.profiles p
        on p.community_id = d.community_id
       and p.user_id = d.user_id
     where d.channel = 'push'
       and d.sent_at is null
       and d.dropped_at is null
       and d.dead_at is null
       and d.due_at < v_late
       and (d.leased_until is null or d.leased_until <= p_now)
     order by d.due_at
     limit p_limit
       for no key update skip locked
  loop
    perform care.tell_by_letter(v_delivery, p_now);
  end loop;
end
$$;
comment on function care.forward_pushes(integer, timestamptz) is
  'Makes letters of pushes that nobody has sent for ten minutes: no node of this deployment sends any more.';
