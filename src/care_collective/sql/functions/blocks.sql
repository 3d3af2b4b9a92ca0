-- Blocks: two members who have nothing to do with each other any more. Works both ways and is never disclosed: whom it
-- is done to sees what a plain end of the conversation shows, and a helper released or stepped back.

create or replace function care.shared_threads(p_community_id uuid, p_one uuid, p_other uuid)
returns uuid[]
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- From their requests, which are few, by the key of a request and its helper.
  return array(
    select t.id
      from public.help_requests r
      join care.threads t
        on t.community_id = p_community_id
       and t.help_request_id = r.id
       and t.helper_id = case when r.user_id = p_one then p_other else p_one end
     where r.community_id = p_community_id
       and r.user_id in (p_one, p_other)
     order by t.id);
end
$$;
comment on function care.shared_threads(uuid, uuid, uuid) is 'The conversations of two members, of both engines, by id.';

create or replace function care.is_known(p_community_id uuid, p_user_id uuid, p_other_id uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return p_other_id <> p_user_id and (
    exists (
      select 1
        from public.user_blocks b
       where b.community_id = p_community_id
         and b.blocker_id = p_user_id
         and b.blocked_id = p_other_id)
    -- As find_thread judges: a held first contact is nobody the requester knows.
    or exists (
      select 1
        from unnest(care.shared_threads(p_community_id, p_user_id, p_other_id)) as s (id)
       where (care.find_thread(p_community_id, p_user_id, s.id)).id is not null)
    or (
      (care.allow(p_community_id, p_user_id, 'browse')).refusal is null
      and exists (
        select 1
          from public.help_requests r
         where r.community_id = p_community_id
           and r.user_id = p_other_id
           and care.may_see(r, p_user_id))));
end
$$;
comment on function care.is_known(uuid, uuid, uuid) is
  'Whether a member has met another: in a conversation, by a request that they can see, or by having blocked them.';

create or replace function public.block_user(p_user_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_caller uuid;
  v_known boolean;
  v_me care.writing;
  v_now timestamptz;
begin
  v_caller := care.caller();
  -- Judged without a lock, so that nobody can hold a stranger's row; whom one has met a moment ago one has met.
  v_known := coalesce(care.is_known(care.community(), v_caller, p_user_id), false);
  -- Protecting oneself is no writing to anybody: who may still read their conversations may do it.
  v_me := care.begin_write(v_caller, 'read', 'block', jsonb_build_array(p_user_id),
    case when p_user_id = v_caller then care.invalid('user_id', 'You cannot block yourself.') end,
    case when v_known then array[p_user_id] else '{}'::uuid[] end);
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  if not v_known then
    return care.refusal('not_found');
  end if;
  -- First what they have with each other ends, told as ever: under the block nobody is told anything of the other.
  perform care.part(v_me, p_user_id);
  v_now := clock_timestamp();
  insert into public.user_blocks (community_id, blocker_id, blocked_id, created_at)
  values (v_me.community_id, v_me.user_id, p_user_id, v_now)
  on conflict on constraint user_blocks_pkey do nothing;
  return care.remember(v_me, jsonb_build_object('success', true));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('block_user', sqlstate, sqlerrm);
end
$$;
comment on function public.block_user(uuid) is
  'Blocks a member whom the caller has met: neither finds the other''s requests or can offer, their conversations end, and who helps the other helps no more. It is not disclosed.';

create or replace function care.part(p_me care.writing, p_blocked_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_request public.help_requests;
  v_released uuid[] := array[]::uuid[];
  v_topic text;
  v_id uuid;
  v_thread care.thread;
begin
  -- Both profiles are locked: nobody assigns one to the other, writes or offers before this commits (rule 11).
  for v_request in
    select r.*
      from public.help_requests r
     where r.community_id = p_me.community_id
       and r.helper_id in (p_me.user_id, p_blocked_id)
       and r.user_id in (p_me.user_id, p_blocked_id)
       and r.status = 'in_progress'
     order by r.id
       for no key update
  loop
    perform care.assign_helper(p_me.community_id, v_request.id, null);
    v_released := v_released || v_request.id;
  end loop;
  foreach v_id in array care.shared_threads(p_me.community_id, p_me.user_id, p_blocked_id) loop
    v_thread := care.lock_thread(p_me.community_id, p_me.user_id, v_id);
    -- The same words as without a block: who had been helping steps back, or is released.
    if v_thread.help_request_id = any (v_released) then
      v_topic := case when v_thread.helper_id = p_me.user_id then 'helper.stepped_back' else 'helper.released' end;
      perform care.bring_back(p_me.community_id, v_id, p_me.user_id);
      perform care.announce(p_me.community_id, p_me.user_id, v_topic, v_thread.help_request_id, v_id);
      perform care.notify_other(p_me, v_thread, v_topic);
    end if;
    -- Written, and not only shown: after an unblock it is the blocker's to open again, and looks as it did before.
    if v_thread.status = 'active' then
      perform care.set_thread_status(p_me.community_id, v_thread, 'closed', p_me.user_id);
      perform care.announce(
        p_me.community_id, p_me.user_id, 'conversation.closed', v_thread.help_request_id, v_id);
      perform care.notify_other(p_me, v_thread, 'conversation.closed');
    end if;
  end loop;
end
$$;
comment on function care.part(care.writing, uuid) is
  'Ends what two locked members have with each other, as the blocker: help under way first, then their open conversations.';

create or replace function public.unblock_user(p_user_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_caller uuid;
  v_community_id uuid;
  v_others uuid[];
  v_me care.writing;
begin
  v_caller := care.caller();
  v_community_id := care.community();
  v_others := array(
    select b.blocked_id
      from public.user_blocks b
     where b.community_id = v_community_id
       and b.blocker_id = v_caller
       and b.blocked_id = p_user_id);
  v_me := care.begin_write(v_caller, 'read', 'unblock', jsonb_build_array(p_user_id), p_others => v_others);
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  delete from public.user_blocks b
   where b.community_id = v_me.community_id
     and b.blocker_id = v_me.user_id
     and b.blocked_id = p_user_id;
  -- The same for everybody who is not blocked, there or not: nothing is told of them.
  return care.remember(v_me, jsonb_build_object('success', true));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('unblock_user', sqlstate, sqlerrm);
end
$$;
comment on function public.unblock_user(uuid) is
  'Ends the caller''s block of a member, where there is one. Conversations stay ended; the caller can open them again.';

create or replace function public.list_blocks()
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
  return jsonb_build_object('success', true, 'blocks', (
    select coalesce(jsonb_agg(jsonb_build_object(
             'user', jsonb_build_object('user_id', p.user_id, 'display_name', p.display_name, 'town', p.town,
               'deleted', p.deleted_at is not null),
             'created_at', b.created_at) order by b.created_at desc, b.blocked_id), '[]')
      from public.user_blocks b
      join public.profiles p
        on p.community_id = v_me.community_id
       and p.user_id = b.blocked_id
     where b.community_id = v_me.community_id
       and b.blocker_id = v_me.user_id));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('list_blocks', sqlstate, sqlerrm);
end
$$;
comment on function public.list_blocks() is 'Whom the caller has blocked, the latest first. Nobody is told who has blocked them.';
