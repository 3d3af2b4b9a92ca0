-- What is due to be told becomes deliveries: to whom, by which channel, when, and what goes together.

drop function if exists care.channel_of(uuid, uuid);
drop function if exists care.plan_deliveries(integer, timestamptz);
drop function if exists care.plan_member(uuid, uuid, timestamptz);

create or replace function care.channel_of(p_community_id uuid, p_user_id uuid, p_push boolean)
returns text
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_preferences public.messaging_preferences := care.preferences_of(p_community_id, p_user_id);
begin
  if (care.restriction_of(p_community_id, p_user_id)).kind = 'banned' then
    return null;
  end if;
  -- One channel an event. Whoever turned a browser on wants to be told by it, however often letters may come.
  if p_push and care.has_push(p_community_id, p_user_id) then
    return 'push';
  end if;
  return case
    when v_preferences.email <> 'off' and care.address_of(p_community_id, p_user_id) is not null then 'email' end;
end
$$;
comment on function care.channel_of(uuid, uuid, boolean) is
  'The one channel by which a member is told of what they have not read; null: by none. p_push: this node sends pushes.';

create or replace function care.has_push(p_community_id uuid, p_user_id uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return exists (
    select 1
      from care.push_subscriptions s
     where s.community_id = p_community_id
       and s.user_id = p_user_id);
end
$$;
comment on function care.has_push(uuid, uuid) is 'Whether a member is told by some browser: one index probe.';

create or replace function care.heard_of(p_community_id uuid, p_user_id uuid, p_ids uuid[], p_now timestamptz)
returns uuid[]
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return array(
    select n.id
      from public.notifications n
     where n.community_id = p_community_id
       and n.user_id = p_user_id
       and n.id = any (p_ids)
       and n.read_at is null
       and not exists (
         select 1
           from public.conversation_members m
          where m.community_id = p_community_id
            and m.user_id = p_user_id
            and m.conversation_id = n.conversation_id
            and m.muted_until > p_now)
       -- Nothing of whom they have blocked. Whom it was done to is told as of any end: silence would disclose it.
       and not exists (
         select 1
           from public.user_blocks b
          where b.community_id = p_community_id
            and b.blocker_id = p_user_id
            and b.blocked_id = n.actor_id)
       and case when n.kind = 'membership.waiting' then care.is_awaited(p_community_id, p_user_id) else true end);
end
$$;
comment on function care.heard_of(uuid, uuid, uuid[], timestamptz) is
  'Those of a member''s notifications that are unread and still theirs to be told: of no conversation that they have muted, of nobody whom they have blocked, of applications only while they can decide some.';

create or replace function care.plan_deliveries(
  p_limit integer, p_now timestamptz default null, p_push boolean default false)
returns integer
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_member record;
  v_members integer := 0;
begin
  perform care.forward_pushes(p_limit, v_now);
  for v_member in
    -- The locks are kept to the end: two nodes never plan for one member. Whom another node or a write of theirs has
    -- is passed over this time.
    select p.community_id, p.user_id
      from public.profiles p
     where (p.community_id, p.user_id) in (
       select d.community_id, d.user_id
         from (
           select n.community_id, n.user_id
             from public.notifications n
            where n.due_at <= v_now
              and n.read_at is null
            order by n.due_at
            limit p_limit
         ) d)
     order by p.user_id
       for no key update skip locked
  loop
    perform care.plan_member(v_member.community_id, v_member.user_id, v_now, p_push);
    v_members := v_members + 1;
  end loop;
  return v_members;
end
$$;
comment on function care.plan_deliveries(integer, timestamptz, boolean) is
  'Makes deliveries of what is due and unread, of up to p_limit notifications'' members; how many members that were. p_push: by browsers, too, and not by letters alone.';

create or replace function care.plan_member(
  p_community_id uuid, p_user_id uuid, p_now timestamptz, p_push boolean)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_preferences public.messaging_preferences := care.preferences_of(p_community_id, p_user_id);
  v_zone text := care.zone_of(p_community_id, p_user_id);
  v_channel text := care.channel_of(p_community_id, p_user_id, p_push);
  v_waiting uuid[];
  v_heard uuid[] := array[]::uuid[];
  v_quiet timestamptz;
  v_pause timestamptz;
  v_group record;
begin
  -- What waits, due or not: a letter about a conversation tells all of it, so that none follows a minute later.
  v_waiting := array(
    select n.id
      from public.notifications n
     where n.community_id = p_community_id
       and n.user_id = p_user_id
       and n.read_at is null
       and n.due_at is not null
       for no key update skip locked);
  if v_channel is not null then
    v_heard := care.heard_of(p_community_id, p_user_id, v_waiting, p_now);
  end if;
  update public.notifications n
     set due_at = null
   where n.community_id = p_community_id
     and n.id = any (v_waiting)
     and n.id <> all (v_heard);

  if v_preferences.email = 'daily' and v_channel = 'email' then
    perform care.plan_digest(p_community_id, p_user_id, v_channel, v_heard, p_now,
      care.digest_time(p_community_id, p_user_id, p_now));
    return;
  end if;
  v_quiet := care.quiet_until(p_now, v_zone, v_preferences.quiet_from, v_preferences.quiet_to);
  for v_group in
    select n.conversation_id, array_agg(n.id) as ids, coalesce(bool_or(r.urgency = 'critical'), false) as critical
      from public.notifications n
      left join public.help_requests r
        on r.community_id = n.community_id
       and r.id = n.help_request_id
     where n.community_id = p_community_id
       and n.id = any (v_heard)
     group by n.conversation_id, case when n.conversation_id is null then n.help_request_id end
    having bool_or(n.due_at <= p_now)
     order by min(n.due_at)
  loop
    v_pause := care.pause_of(p_community_id, p_user_id, v_group.conversation_id, p_now);
    if v_quiet is null and v_pause is null then
      perform care.plan_letter(p_community_id, p_user_id, v_channel, v_group.conversation_id, v_group.ids, false, p_now);
    elsif v_pause is null and v_group.critical and care.may_disturb(p_community_id, p_user_id, p_now) then
      perform care.plan_letter(p_community_id, p_user_id, v_channel, v_group.conversation_id, v_group.ids, true, p_now);
    else
      update public.notifications n
         set due_at = greatest(v_quiet, v_pause)
       where n.community_id = p_community_id
         and n.id = any (v_group.ids);
    end if;
  end loop;
end
$$;
comment on function care.plan_member(uuid, uuid, timestamptz, boolean) is
  'Makes a member''s deliveries: one a conversation or request, one letter a day for who chose so, none in quiet hours but for the most urgent. Under the lock on the profile.';

create or replace function care.pause_of(
  p_community_id uuid, p_user_id uuid, p_conversation_id uuid, p_now timestamptz)
returns timestamptz
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_span constant interval := interval '2 hours';
  v_since timestamptz := p_now - v_span;
  v_most constant integer := 4;
begin
  -- Somebody may close and reopen, accept and release all day long.
  return (
    select d.created_at + v_span
      from care.deliveries d
     where d.community_id = p_community_id
       and d.user_id = p_user_id
       and d.conversation_id = p_conversation_id
       and d.created_at > v_since
       and d.dropped_at is null
     order by d.created_at desc
    offset v_most - 1
     limit 1);
end
$$;
comment on function care.pause_of(uuid, uuid, uuid, timestamptz) is
  'Until when no further letter goes to a member about a conversation, after four in 2 hours; null: one may go now.';

create or replace function care.may_disturb(p_community_id uuid, p_user_id uuid, p_now timestamptz)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_since timestamptz := p_now - interval '24 hours';
  v_most constant integer := 3;
begin
  return v_most > (
    select count(*)
      from care.deliveries d
     where d.community_id = p_community_id
       and d.user_id = p_user_id
       and d.created_at > v_since
       and d.urgent);
end
$$;
comment on function care.may_disturb(uuid, uuid, timestamptz) is
  'Whether one more urgent letter may come within a member''s quiet hours: three in 24 hours.';

create or replace function care.plan_letter(
  p_community_id uuid, p_user_id uuid, p_channel text, p_conversation_id uuid, p_ids uuid[], p_urgent boolean,
  p_now timestamptz)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_again timestamptz := p_now + interval '2 hours';
  v_id uuid;
begin
  insert into care.deliveries (community_id, user_id, channel, kind, conversation_id, urgent, created_at, due_at)
  values (p_community_id, p_user_id, p_channel, 'notifications', p_conversation_id, p_urgent, p_now, p_now)
  returning id into v_id;
  update public.notifications n
     set delivery_id = v_id,
         due_at = null,
         again_at = v_again
   where n.community_id = p_community_id
     and n.id = any (p_ids);
end
$$;
comment on function care.plan_letter(uuid, uuid, text, uuid, uuid[], boolean, timestamptz) is
  'Makes the delivery of some notifications, due at once; nothing more is sent of them for two hours.';

create or replace function care.digest_time(p_community_id uuid, p_user_id uuid, p_now timestamptz)
returns timestamptz
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_preferences public.messaging_preferences := care.preferences_of(p_community_id, p_user_id);
begin
  return care.next_time(p_now, care.zone_of(p_community_id, p_user_id),
    case when v_preferences.quiet_from <> v_preferences.quiet_to then v_preferences.quiet_to else '08:00' end);
end
$$;
comment on function care.digest_time(uuid, uuid, timestamptz) is
  'When a member''s next daily letter goes out: at the end of their quiet hours, at eight without any.';

create or replace function care.plan_digest(
  p_community_id uuid, p_user_id uuid, p_channel text, p_ids uuid[], p_now timestamptz, p_due timestamptz)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_again timestamptz := p_now + interval '2 hours';
  v_id uuid;
begin
  if p_ids = '{}' then
    return;
  end if;
  -- One that has been tried stays as it was: it may have arrived, and who has its id looks at no second one.
  select d.id
    into v_id
    from care.deliveries d
   where d.community_id = p_community_id
     and d.user_id = p_user_id
     and d.kind = 'digest'
     and d.channel = p_channel
     and d.sent_at is null
     and d.dropped_at is null
     and d.dead_at is null
     and d.attempts = 0
     and d.leased_until is null
   limit 1
     for no key update skip locked;
  if not found then
    insert into care.deliveries (community_id, user_id, channel, kind, created_at, due_at)
    values (p_community_id, p_user_id, p_channel, 'digest', p_now, p_due)
    returning id into v_id;
  end if;
  update public.notifications n
     set delivery_id = v_id,
         due_at = null,
         again_at = v_again
   where n.community_id = p_community_id
     and n.id = any (p_ids);
end
$$;
comment on function care.plan_digest(uuid, uuid, text, uuid[], timestamptz, timestamptz) is
  'Puts notifications into the member''s next daily letter, and makes that where there is none yet.';

create or replace function care.unsubscribe(p_community_id uuid, p_user_id uuid)
returns boolean
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  perform 1
     from public.profiles p
    where p.community_id = p_community_id
      and p.user_id = p_user_id
      and p.deleted_at is null
      for no key update;
  if not found then
    return false;
  end if;
  insert into public.messaging_preferences as m (community_id, user_id, email, updated_at)
  values (p_community_id, p_user_id, 'off', v_now)
  on conflict (community_id, user_id) do update
     set email = 'off',
         updated_at = excluded.updated_at;
  return true;
end
$$;
comment on function care.unsubscribe(uuid, uuid) is
  'Ends letters to a member, asked for by the signed link of one; false where there is no such member.';
