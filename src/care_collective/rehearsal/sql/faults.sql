-- Ways to break V2, in the scratch database of a rehearsal. The function keeps its identity, so that connections that
-- have prepared its call meet the fault as they would meet one in a release.

create schema rehearsal;
grant usage on schema rehearsal to care_owner;

create table rehearsal.sound as
  select pg_get_functiondef('public.create_conversation_atomic(uuid, uuid, text)'::regprocedure) as definition;

do $$
begin
  execute (select replace(s.definition, 'FUNCTION public.', 'FUNCTION rehearsal.') from rehearsal.sound s);
end
$$;

create table rehearsal.planted (
  community_id uuid not null,
  conversation_id uuid not null,
  user_id uuid not null
);

-- What create_conversation_atomic does instead: p_body, in which rehearsal.create_conversation_atomic is the sound one.
create function rehearsal.replace_create(p_body text)
returns void
volatile
language plpgsql
as $$
begin
  execute format(
    'create or replace function public.create_conversation_atomic('
    'p_help_request_id uuid, p_helper_id uuid, p_initial_message text) returns jsonb volatile security definer '
    'set search_path = pg_catalog, pg_temp set lock_timeout = ''2s'' language plpgsql as %L', p_body);
end
$$;

create function rehearsal.break_raising()
returns void
volatile
language plpgsql
as $$
begin
  perform rehearsal.replace_create('begin raise exception ''a fault of the rehearsal''; end');
end
$$;

create function rehearsal.break_latency()
returns void
volatile
language plpgsql
as $$
begin
  perform rehearsal.replace_create(
    'begin perform pg_sleep(0.7); '
    'return rehearsal.create_conversation_atomic(p_help_request_id, p_helper_id, p_initial_message); end');
end
$$;

-- Everything is written and nothing committed while it sleeps: who kills backends meets them there.
create function rehearsal.break_killed_backends()
returns void
volatile
language plpgsql
as $$
begin
  perform rehearsal.replace_create(
    'declare v_answer jsonb; begin '
    'v_answer := rehearsal.create_conversation_atomic(p_help_request_id, p_helper_id, p_initial_message); '
    'perform pg_sleep(0.2); return v_answer; end');
end
$$;

create function rehearsal.kill_backends()
returns bigint
volatile
language sql
begin atomic
  select count(*) filter (where pg_terminate_backend(a.pid))
    from pg_stat_activity a
   where a.datname = current_database()
     and a.usename = 'care_app'
     and a.wait_event = 'PgSleep'
     and a.query like '%create_conversation_atomic%';
end;

-- The newest conversation of V2: what one of its two has not read is counted wrongly. No word of theirs is touched.
create function rehearsal.break_violation()
returns void
volatile
language plpgsql
as $$
begin
  insert into rehearsal.planted
  select v.community_id, v.id, v.helper_id
    from public.conversations_v2 v
   order by v.created_at desc
   limit 1;
  update public.conversation_members m
     set unread = m.unread + 1000
    from rehearsal.planted p
   where m.community_id = p.community_id
     and m.conversation_id = p.conversation_id
     and m.user_id = p.user_id;
end
$$;

create function rehearsal.mend()
returns void
volatile
language plpgsql
as $$
begin
  execute (select s.definition from rehearsal.sound s);
  update public.conversation_members m
     set unread = m.unread - 1000
    from rehearsal.planted p
   where m.community_id = p.community_id
     and m.conversation_id = p.conversation_id
     and m.user_id = p.user_id
     and m.unread >= 1000;
  delete from rehearsal.planted;
end
$$;
