-- Letters on their way: each goes out under a lease. They say names and titles, never a message's words.

create or replace function care.address_of(p_community_id uuid, p_user_id uuid)
returns text
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select u.email
      from public.profiles p
      join care.users u
        on u.id = p.user_id
     where p.community_id = p_community_id
       and p.user_id = p_user_id
       and p.deleted_at is null
       and u.deleted_at is null);
end
$$;
comment on function care.address_of(uuid, uuid) is 'Where a member is written to, or null for one that is gone.';

create or replace function care.lease_deliveries(
  p_channel text, p_limit integer, p_lease_seconds integer, p_now timestamptz default null)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_until timestamptz := v_now + make_interval(secs => p_lease_seconds);
  -- Further ahead than any lease: a clock was set back.
  v_never timestamptz := v_now + interval '1 hour';
  v_claimed care.deliveries[];
  v_delivery care.deliveries;
  v_quiet timestamptz;
  v_letter jsonb;
  v_letters jsonb := jsonb_build_array();
begin
  v_claimed := array(
    select d
      from care.deliveries d
     where d.sent_at is null
       and d.dropped_at is null
       and d.dead_at is null
       and d.channel = p_channel
       and d.due_at <= v_now
       and (d.leased_until is null or d.leased_until <= v_now or d.leased_until > v_never)
     order by d.due_at
     limit p_limit
       for no key update skip locked);
  foreach v_delivery in array v_claimed loop
    v_letter := care.letter(v_delivery, v_now);
    -- One that failed before may have come into the night.
    v_quiet := case when v_delivery.kind = 'notifications' and not v_delivery.urgent and v_letter is not null then
      care.quiet_of(v_delivery.community_id, v_delivery.user_id, v_now) end;
    update care.deliveries d
       set dropped_at = case when v_letter is null then v_now end,
           due_at = coalesce(v_quiet, d.due_at),
           leased_until = case when v_letter is not null and v_quiet is null then v_until end
     where d.community_id = v_delivery.community_id
       and d.id = v_delivery.id;
    if v_letter is not null and v_quiet is null then
      v_letters := v_letters || v_letter;
    end if;
  end loop;
  return jsonb_build_object('letters', v_letters, 'more', cardinality(v_claimed) >= p_limit);
end
$$;
comment on function care.lease_deliveries(text, integer, integer, timestamptz) is
  'Leases up to p_limit due deliveries of a channel and answers what their letters say; those with nothing left to say are dropped.';

create or replace function care.letter(p_delivery care.deliveries, p_now timestamptz)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_community_id uuid := p_delivery.community_id;
  v_user_id uuid := p_delivery.user_id;
  v_address text := care.address_of(v_community_id, v_user_id);
  v_password_set_at timestamptz;
  v_items jsonb := jsonb_build_array();
begin
  if v_address is null then
    return null;
  end if;
  if p_delivery.kind in ('notifications', 'digest') then
    v_items := care.letter_items(p_delivery, p_now);
    -- All read meanwhile, muted, or nothing wanted any more. A push whose last browser is gone is no letter yet: who
    -- sends it finds none to send to.
    if v_items = '[]' or care.channel_of(v_community_id, v_user_id, p_delivery.channel = 'push') is null then
      return null;
    end if;
  else
    select c.updated_at
      into v_password_set_at
      from care.credentials c
     where c.user_id = v_user_id
       and c.kind = 'password';
    if not found then
      return null;
    end if;
  end if;
  return (
    select jsonb_build_object(
             'community', jsonb_build_object('id', c.id, 'slug', c.slug, 'hosts', c.hosts, 'name', c.name),
             'id', p_delivery.id, 'user_id', v_user_id, 'kind', p_delivery.kind, 'created_at', p_delivery.created_at,
             'address', v_address, 'display_name', p.display_name, 'locales', jsonb_build_array(p.locale, c.locale),
             'items', v_items, 'password_set_at', v_password_set_at)
           || case when p_delivery.channel = 'push' then jsonb_build_object(
                'urgent', p_delivery.urgent, 'subscriptions', care.subscriptions_of(v_community_id, v_user_id))
              else '{}' end
      from public.profiles p
      join public.communities c
        on c.id = v_community_id
     where p.community_id = v_community_id
       and p.user_id = v_user_id);
end
$$;
comment on function care.letter(care.deliveries, timestamptz) is
  'What a delivery''s letter says: to whom, in which languages, of what. Null: nothing any more.';

create or replace function care.letter_items(p_delivery care.deliveries, p_now timestamptz)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_community_id uuid := p_delivery.community_id;
  v_ids uuid[];
begin
  v_ids := array(
    select n.id
      from public.notifications n
     where n.community_id = v_community_id
       and n.user_id = p_delivery.user_id
       and n.delivery_id = p_delivery.id
       and n.read_at is null);
  v_ids := care.heard_of(v_community_id, p_delivery.user_id, v_ids, p_now);
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'kind', n.kind, 'count', n.count, 'at', n.updated_at,
             -- Without a name: a former member, or nobody in particular.
             'actor', case when a.deleted_at is null then a.display_name end,
             'help_request_id', n.help_request_id, 'title', r.title, 'conversation_id', n.conversation_id)
             order by n.updated_at, n.id), '[]')
      from public.notifications n
      left join public.profiles a
        on a.community_id = v_community_id
       and a.user_id = n.actor_id
      left join public.help_requests r
        on r.community_id = v_community_id
       and r.id = n.help_request_id
     where n.community_id = v_community_id
       and n.id = any (v_ids));
end
$$;
comment on function care.letter_items(care.deliveries, timestamptz) is
  'What a delivery is about and its member has not read: kinds, names and titles, no message''s words.';

create or replace function care.settle_delivery(
  p_community_id uuid, p_id uuid, p_outcome text, p_error text, p_jitter double precision,
  p_now timestamptz default null)
returns text
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_most constant integer := 8;
  v_tried integer;
  v_due timestamptz := v_now;
  v_state text;
begin
  select d.attempts + case when p_outcome = 'release' then 0 else 1 end
    into v_tried
    from care.deliveries d
   where d.community_id = p_community_id
     and d.id = p_id
     and d.sent_at is null
     and d.dropped_at is null
     and d.dead_at is null
     for no key update;
  if not found then
    return null;
  end if;
  v_state := case
    when p_outcome = 'sent' then 'sent'
    when p_outcome = 'drop' then 'dropped'
    when p_outcome = 'refused' or (p_outcome = 'retry' and v_tried >= v_most) then 'dead'
    else 'waiting' end;
  if p_outcome = 'retry' then
    -- 1, 4, 16, 64 minutes, 4 hours, then 8: a day in all, each a quarter more or less.
    v_due := v_now + make_interval(secs => least(60 * 4 ^ (v_tried - 1), 28800) * (0.75 + 0.5 * p_jitter));
  end if;
  update care.deliveries d
     set attempts = v_tried,
         leased_until = null,
         due_at = v_due,
         sent_at = case when v_state = 'sent' then v_now end,
         dropped_at = case when v_state = 'dropped' then v_now end,
         dead_at = case when v_state = 'dead' then v_now end,
         last_error = p_error
   where d.community_id = p_community_id
     and d.id = p_id;
  return v_state;
end
$$;
comment on function care.settle_delivery(uuid, uuid, text, text, double precision, timestamptz) is
  'Notes what came of a leased delivery: sent, refused for good, retry, drop where nothing can send it, or release untried; its state, sent, dropped, dead or waiting, null where it was settled before. p_jitter from 0 to 1.';

create or replace function care.letter_counts()
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  return (
    select jsonb_build_object('waiting', count(*) filter (where d.due_at <= v_now),
             'failing', count(*) filter (where d.attempts > 0),
             'dead', (select count(*) from care.deliveries e where e.dead_at is not null))
      from care.deliveries d
     where d.sent_at is null
       and d.dropped_at is null
       and d.dead_at is null);
end
$$;
comment on function care.letter_counts() is
  'How many letters are due and not sent, have failed and are tried again, and were given up.';

create or replace function care.failed_letters(p_most integer)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'id', s.id, 'community', s.slug, 'kind', s.kind, 'created_at', s.created_at, 'attempts', s.attempts,
             'error', s.last_error, 'dead_at', s.dead_at, 'due_at', s.due_at)
             order by s.dead_at desc nulls last, s.due_at), '[]')
      from (
        select d.id, c.slug, d.kind, d.created_at, d.attempts, d.last_error, d.dead_at, d.due_at
          from care.deliveries d
          join public.communities c
            on c.id = d.community_id
         where d.sent_at is null
           and d.dropped_at is null
           and d.last_error is not null
         order by d.dead_at desc nulls last, d.due_at
         limit p_most
      ) s);
end
$$;
comment on function care.failed_letters(integer) is
  'Up to p_most letters that were given up or are tried again, with the code of what went wrong. Ids and codes alone.';

create or replace function care.retry_deliveries()
returns integer
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_letters integer;
begin
  update care.deliveries d
     set dead_at = null,
         attempts = 0,
         due_at = v_now
   where d.sent_at is null
     and d.dropped_at is null
     and d.last_error is not null
     and d.leased_until is null
     -- Its link has long expired.
     and d.kind <> 'password_reset';
  get diagnostics v_letters = row_count;
  return v_letters;
end
$$;
comment on function care.retry_deliveries() is
  'Lets every letter that failed or was given up go out now, as an operator asks after a mend; how many.';

create or replace function care.prune_deliveries()
returns integer
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_month_ago timestamptz := clock_timestamp() - interval '30 days';
  v_quarter_ago timestamptz := clock_timestamp() - interval '90 days';
  v_batch constant integer := 10000;
  v_letters integer;
begin
  delete from care.deliveries e
   where e.ctid = any (array(
     select d.ctid
       from care.deliveries d
      where d.sent_at < v_month_ago
         or d.dropped_at < v_month_ago
         or d.dead_at < v_quarter_ago
      limit v_batch
        for no key update skip locked));
  get diagnostics v_letters = row_count;
  return v_letters;
end
$$;
comment on function care.prune_deliveries() is
  'Removes a batch of the letters sent or not needed a month ago, and of those given up three months ago; how many went.';
