-- Who calls, in which community, and what they may do. Everything else asks here and nowhere else.

create or replace function care.caller()
returns uuid
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_claims jsonb;
  v_user_id uuid;
begin
  v_claims := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  -- A token of another role is not a member's, whatever its sub says. Without a role the grants decide alone.
  if v_claims ->> 'role' <> 'authenticated' then
    return null;
  end if;
  v_user_id := (v_claims ->> 'sub')::uuid;
  -- A token of our own names the session that it came with and ends with it; a platform's names none.
  if v_claims ? 'care_session' and not care.has_session(v_user_id, v_claims ->> 'care_session') then
    return null;
  end if;
  return v_user_id;
exception
  -- Malformed claims are nobody, not an error (rule 1); statement_too_complex is JSON nested too deep to parse.
  when data_exception or statement_too_complex then return null;
end
$$;
comment on function care.caller() is 'The user id of the request''s claims, or null: absent, empty or malformed claims are nobody, and those of a session that has ended.';

create or replace function care.community()
returns uuid
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_claims jsonb;
  v_ids uuid[];
begin
  v_claims := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  if v_claims -> 'app_metadata' ->> 'community_id' is not null then
    return (v_claims -> 'app_metadata' ->> 'community_id')::uuid;
  end if;
  -- Without a named community it is the only one; several, and none named, is nobody's.
  v_ids := array(select c.id from public.communities c where not c.is_probe limit 2);
  return case when cardinality(v_ids) = 1 then v_ids[1] end;
exception
  when data_exception or statement_too_complex then return null;
end
$$;
comment on function care.community() is 'The community the request acts in: the claims'' own, else the only one, else null.';

create or replace function care.request_header(p_name text)
returns text
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return nullif(current_setting('request.headers', true), '')::jsonb ->> p_name;
exception
  when data_exception or statement_too_complex then return null;
end
$$;
comment on function care.request_header(text) is 'One request header by its lower-case name, or null.';

create or replace function care.restriction_of(p_community_id uuid, p_user_id uuid)
returns public.user_restrictions
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_strongest public.user_restrictions;
begin
  select r.*
    into v_strongest
    from public.user_restrictions r
   where r.community_id = p_community_id
     and r.user_id = p_user_id
     and r.lifted_at is null
     and (r.until is null or r.until > v_now)
   order by array_position(array['banned', 'suspended', 'limited'], r.kind), r.until desc nulls first
   limit 1;
  return v_strongest;
end
$$;
comment on function care.restriction_of(uuid, uuid) is 'The strongest restriction in force on a member, or a row of nulls.';

create or replace function care.allow(p_community_id uuid, p_user_id uuid, p_right text)
returns care.admission
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_status text;
  v_is_coordinator boolean;
  v_restriction public.user_restrictions;
  v_admission care.admission;
begin
  select p.verification_status, p.is_coordinator
    into v_status, v_is_coordinator
    from public.profiles p
   where p.community_id = p_community_id
     and p.user_id = p_user_id
     and p.deleted_at is null;
  if not found then
    v_admission.refusal := care.refusal('permission_denied', 'identity');
    return v_admission;
  end if;

  v_restriction := care.restriction_of(p_community_id, p_user_id);
  v_admission := row(null, p_community_id, p_user_id, v_restriction.kind);
  -- Rights, weakest first: one's 'own' data, which the banned have too, 'read' own threads, 'present' oneself by name and town, 'browse' requests, 'write' in
  -- threads, 'offer' help or ask for it, 'coordinate' the community. A newcomer may correct how they present themselves;
  -- who is suspended may not put new words before others.
  if p_right = 'own' then
    return v_admission;
  elsif p_right not in ('read', 'present') and v_status <> 'approved' then
    v_admission.refusal := care.refusal('permission_denied', 'not_approved');
  elsif v_restriction.kind = 'banned'
     or (v_restriction.kind = 'suspended' and p_right in ('present', 'write', 'offer', 'coordinate'))
     or (v_restriction.kind = 'limited' and p_right in ('offer', 'coordinate')) then
    v_admission.refusal := care.refusal('permission_denied', 'restricted', jsonb_build_object(
      'restriction', v_restriction.kind, 'until', v_restriction.until, 'why', v_restriction.why));
  elsif p_right = 'coordinate' and not v_is_coordinator then
    v_admission.refusal := care.refusal('permission_denied', 'role');
  end if;
  return v_admission;
end
$$;
comment on function care.allow(uuid, uuid, text) is
  'Whether a member may have their own data, read, present themselves, browse, write, offer or coordinate (product.md, who may do what and restrictions): an admission with a refusal, or without.';

create or replace function care.begin_write(
  p_caller uuid, p_right text, p_verb text default null, p_content jsonb default null, p_invalid jsonb default null,
  p_others uuid[] default '{}')
returns care.writing
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_community_id uuid := care.community();
  v_people uuid[] := p_caller || p_others;
  v_admission care.admission;
  v_me care.writing;
begin
  -- Every profile row the call needs, in one step by id, before any other lock (rule 11). What is checked after
  -- this line holds until commit: who suspends or deletes a member takes the same lock.
  perform 1
     from public.profiles p
    where p.community_id = v_community_id
      and p.user_id = any (v_people)
    order by p.user_id
      for no key update;
  v_admission := care.allow(v_community_id, p_caller, p_right);
  v_me := row(v_admission.refusal, v_admission.community_id, v_admission.user_id, v_admission.restriction, null, null);
  if v_me.answer is null and p_verb is not null then
    v_me := care.recall(v_me, p_verb, p_content);
  end if;
  -- The input was judged before anything else and is answered for last (contract.md section 3: identity, key, text).
  if v_me.answer is null then
    v_me.answer := p_invalid;
  end if;
  return v_me;
end
$$;
comment on function care.begin_write(uuid, text, text, jsonb, jsonb, uuid[]) is
  'The gate of every write: locks the profiles it needs, the caller''s among them, judges the caller, looks the key up where there is a verb, then the input''s fault. answer is set when the call is over.';

create or replace function care.identify(p_caller uuid, p_right text)
returns care.admission
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return care.allow(care.community(), p_caller, p_right);
end
$$;
comment on function care.identify(uuid, text) is 'The gate of every read: judges the caller and locks nothing.';

create or replace function care.is_blocked(p_community_id uuid, p_one uuid, p_other uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return exists (
    select 1
      from public.user_blocks b
     where b.community_id = p_community_id
       and ((b.blocker_id = p_one and b.blocked_id = p_other) or (b.blocker_id = p_other and b.blocked_id = p_one)));
end
$$;
comment on function care.is_blocked(uuid, uuid, uuid) is 'Whether either of two members has blocked the other.';

create or replace function care.has_blocked(p_community_id uuid, p_blocker_id uuid, p_blocked_id uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return exists (
    select 1
      from public.user_blocks b
     where b.community_id = p_community_id
       and b.blocker_id = p_blocker_id
       and b.blocked_id = p_blocked_id);
end
$$;
comment on function care.has_blocked(uuid, uuid, uuid) is 'Whether the first of two members has blocked the second.';
