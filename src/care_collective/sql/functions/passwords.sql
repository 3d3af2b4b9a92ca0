-- A password that is changed or was forgotten. Called by the web process itself, never offered to clients: who may call
-- these has seen the present password or a letter's link.

create or replace function care.password_set_at(p_user_id uuid)
returns timestamptz
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select c.updated_at
      from care.credentials c
      join care.users u
        on u.id = c.user_id
     where c.user_id = p_user_id
       and c.kind = 'password'
       and u.deleted_at is null);
end
$$;
comment on function care.password_set_at(uuid) is
  'When a user''s password was set, or null without one. A letter''s link names it, so that it dies with a change.';

create or replace function care.replace_password(
  p_user_id uuid, p_secret text, p_set_at timestamptz, p_keep_session bytea)
returns boolean
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  -- Later than the one before whatever the clock does: no link to an earlier password comes to hold again.
  v_now timestamptz := greatest(clock_timestamp(), p_set_at + interval '1 microsecond');
begin
  -- As whoever deletes the account: that takes sessions before the password, this the other way round.
  perform 1
     from care.users u
    where u.id = p_user_id
      for no key update;
  update care.credentials c
     set secret = p_secret,
         updated_at = v_now
   where c.user_id = p_user_id
     and c.kind = 'password'
     and c.updated_at = p_set_at;
  if not found then
    return false;
  end if;
  delete from care.sessions s
   where s.user_id = p_user_id
     and s.id_hash is distinct from p_keep_session;
  -- A browser that somebody else turned on tells them nothing more.
  delete from care.push_subscriptions p
   where p.user_id = p_user_id;
  return true;
end
$$;
comment on function care.replace_password(uuid, text, timestamptz, bytea) is
  'Puts a new password hash in the place of the one set at p_set_at and ends the user''s sessions but the one to keep, and notices to their browsers; false, and nothing done, where another has been set since.';

create or replace function care.ask_password_reset(p_community_id uuid, p_email text)
returns void
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_lately timestamptz := v_now - interval '5 minutes';
  v_hour_ago timestamptz := v_now - interval '1 hour';
  v_day_ago timestamptz := v_now - interval '1 day';
  v_most constant integer := 3;
begin
  -- Whoever asks need not be whose address it is: a letter in five minutes is all that they can have sent, and after
  -- three in a day one an hour, as long as its link holds: who did forget has one that does.
  insert into care.deliveries (community_id, user_id, kind, created_at, due_at)
  select p.community_id, p.user_id, 'password_reset', v_now, v_now
    from care.users u
    join care.credentials c
      on c.user_id = u.id
     and c.kind = 'password'
    join public.profiles p
      on p.user_id = u.id
     and p.community_id = p_community_id
     and p.deleted_at is null
   where u.email = p_email
     and u.deleted_at is null
     and not exists (
       select 1
         from care.deliveries d
        where d.community_id = p_community_id
          and d.user_id = u.id
          and d.kind = 'password_reset'
          and d.created_at > v_lately)
     and (
       not exists (
         select 1
           from care.deliveries d
          where d.community_id = p_community_id
            and d.user_id = u.id
            and d.kind = 'password_reset'
            and d.created_at > v_hour_ago)
       or v_most > (
         select count(*)
           from care.deliveries d
          where d.community_id = p_community_id
            and d.user_id = u.id
            and d.kind = 'password_reset'
            and d.created_at > v_day_ago));
end
$$;
comment on function care.ask_password_reset(uuid, text) is
  'Makes a letter with a link to a new password for a member''s e-mail address; nothing for any other address.';
