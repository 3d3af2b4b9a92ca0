-- Sessions of browsers, by the hash of their cookie. Called by the web process itself before there is an identity,
-- never offered to clients.

create or replace function care.open_session(p_id_hash bytea, p_user_id uuid, p_community_id uuid, p_seconds integer)
returns boolean
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_expires timestamptz := clock_timestamp() + make_interval(secs => p_seconds);
begin
  -- Only a living member of the community gets one; the lock is that of a deletion.
  perform 1
     from public.profiles p
    where p.community_id = p_community_id
      and p.user_id = p_user_id
      and p.deleted_at is null
      for no key update;
  insert into care.sessions (id_hash, user_id, community_id, expires_at)
  select p_id_hash, p.user_id, p.community_id, v_expires
    from public.profiles p
   where p.community_id = p_community_id
     and p.user_id = p_user_id
     and p.deleted_at is null;
  return found;
end
$$;
comment on function care.open_session(bytea, uuid, uuid, integer) is
  'Opens a session for p_seconds; false where the user has no profile in the community.';

create or replace function care.read_session(p_id_hash bytea)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  return (
    select jsonb_build_object('user_id', s.user_id, 'community_id', s.community_id)
      from care.sessions s
     where s.id_hash = p_id_hash
       and s.expires_at > v_now);
end
$$;
comment on function care.read_session(bytea) is 'Whose session a cookie opens and in which community, or null.';

create or replace function care.has_session(p_user_id uuid, p_id_hash text)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_id_hash bytea := decode(p_id_hash, 'hex');
begin
  return exists (
    select 1
      from care.sessions s
     where s.id_hash = v_id_hash
       and s.user_id = p_user_id
       and s.expires_at > v_now);
end
$$;
comment on function care.has_session(uuid, text) is
  'Whether a session, by its hash in hexadecimal digits, is a user''s and has not ended. Raises data_exception for no such digits.';

create or replace function care.close_session(p_id_hash bytea)
returns void
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  delete from care.sessions s
   where s.id_hash = p_id_hash;
end
$$;
comment on function care.close_session(bytea) is 'Ends a session.';
