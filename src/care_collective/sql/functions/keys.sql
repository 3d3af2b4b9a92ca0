-- Idempotency keys and limits. Both rest on the lock of the caller's own profile, which every write holds: equal keys
-- and a member's counters are never judged by two transactions at once.

create or replace function care.recall(p_me care.writing, p_verb text, p_content jsonb)
returns care.writing
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_me care.writing := p_me;
  v_stored care.idempotency_keys;
begin
  v_me.key := care.request_header('idempotency-key');
  if v_me.key is null then
    return v_me;
  end if;
  if char_length(v_me.key) not between 1 and 255 or btrim(v_me.key, ' ') <> v_me.key
     or translate(v_me.key, care.printable(), '') <> '' then
    v_me.answer := care.invalid('idempotency-key', 'Use 1 to 255 printable ASCII characters.');
    return v_me;
  end if;

  v_me.fingerprint := sha256(convert_to(p_verb || p_content::text, 'UTF8'));
  select k.*
    into v_stored
    from care.idempotency_keys k
   where k.community_id = v_me.community_id
     and k.user_id = v_me.user_id
     and k.key = v_me.key;
  if v_stored.fingerprint <> v_me.fingerprint then
    v_me.answer := care.refusal('idempotency_mismatch');
  -- A key without success is that of a V1 opening on its way: its retry goes on where that stopped.
  elsif v_stored.answer ? 'success' then
    v_me.answer := v_stored.answer;
    -- PostgREST's way to set a response header; our own door reads the same setting.
    perform set_config('response.headers', '[{"Idempotency-Replayed": "true"}]', true);
  end if;
  return v_me;
end
$$;
comment on function care.recall(care.writing, text, jsonb) is
  'Looks the request''s idempotency key up: answer is the first answer, a refusal, or null when the call is to be made.';

create or replace function care.printable()
returns text
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return ' !"#$%&''()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghijklmnopqrstuvwxyz{|}~';
end
$$;
comment on function care.printable() is 'The printable ASCII characters, listed: a regular expression''s range depends on the locale.';

create or replace function care.remember(p_me care.writing, p_answer jsonb)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  if p_me.key is not null then
    -- A key that is there already is that of a V1 opening on its way, which has no answer yet.
    insert into care.idempotency_keys (community_id, user_id, key, fingerprint, answer, created_at)
    values (p_me.community_id, p_me.user_id, p_me.key, p_me.fingerprint, p_answer, v_now)
    on conflict on constraint idempotency_keys_pkey do update
      set answer = excluded.answer;
  end if;
  return p_answer;
end
$$;
comment on function care.remember(care.writing, jsonb) is
  'The end of every write: stores its success under the call''s idempotency key, where it has one, and gives it back.';

create or replace function care.limit_of(p_community_id uuid, p_kind text, out allowed integer, out per_seconds integer)
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_limits jsonb;
begin
  select c.settings -> 'limits'
    into v_limits
    from public.communities c
   where c.id = p_community_id;
  per_seconds := case p_kind
    when 'conversations' then 3600
    when 'messages' then 60
    when 'sign_ins' then 900
    when 'problems' then 3600
    when 'exports' then 3600
    else 86400
  end;
  allowed := case p_kind
    when 'conversations' then coalesce((v_limits ->> 'conversations_per_hour')::integer, 10)
    when 'messages' then coalesce((v_limits ->> 'messages_per_minute')::integer, 50)
    when 'sign_ins' then coalesce((v_limits ->> 'sign_ins_per_quarter_hour')::integer, 10)
    when 'problems' then coalesce((v_limits ->> 'problems_per_hour')::integer, 5)
    when 'requests' then coalesce((v_limits ->> 'requests_per_day')::integer, 10)
    when 'exports' then coalesce((v_limits ->> 'export_pages_per_hour')::integer, 100)
    else coalesce((v_limits ->> 'limited_messages_per_day')::integer, 10)
  end;
end
$$;
comment on function care.limit_of(uuid, text) is 'A limit in force in a community: how many, in how many seconds.';

create or replace function care.over_limit(p_community_id uuid, p_user_id uuid, p_kind text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_limit record := care.limit_of(p_community_id, p_kind);
  v_used integer;
  v_ends timestamptz;
begin
  select r.used, r.window_start + make_interval(secs => v_limit.per_seconds)
    into v_used, v_ends
    from care.rate_counters r
   where r.community_id = p_community_id
     and r.user_id = p_user_id
     and r.kind = p_kind;
  if v_ends is null or v_ends <= v_now then
    v_used := 0;
    v_ends := v_now + make_interval(secs => v_limit.per_seconds);
  end if;
  if v_used >= v_limit.allowed then
    return care.refusal('rate_limited', null, jsonb_build_object(
      'retry_after', ceil(extract(epoch from v_ends - v_now))::integer,
      'message', care.wait_words(ceil(extract(epoch from v_ends - v_now))::integer)));
  end if;
  return null;
end
$$;
comment on function care.over_limit(uuid, uuid, text) is 'The refusal of a member who has used a limit up, or null. Uses nothing.';

create or replace function care.count_use(p_community_id uuid, p_user_id uuid, p_kind text)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_limit record := care.limit_of(p_community_id, p_kind);
  v_oldest timestamptz := v_now - make_interval(secs => v_limit.per_seconds);
begin
  insert into care.rate_counters as r (community_id, user_id, kind, window_start, used)
  values (p_community_id, p_user_id, p_kind, v_now, 1)
  on conflict on constraint rate_counters_pkey do update
    set used = case when r.window_start <= v_oldest then 1 else r.used + 1 end,
        window_start = case when r.window_start <= v_oldest then excluded.window_start else r.window_start end;
end
$$;
comment on function care.count_use(uuid, uuid, text) is 'Counts one use of a limit, in the transaction of the write that used it.';
