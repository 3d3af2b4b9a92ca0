-- Mending what V1 left half opened, and wrong counts of either engine. The command line's alone, with the owner's rights.

create or replace function care.legacy_orphans(p_older_seconds integer)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_before timestamptz := v_now - make_interval(secs => p_older_seconds);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'community_id', c.community_id, 'conversation_id', c.id, 'opened_at', c.created_at,
             'age_seconds', extract(epoch from v_now - c.created_at)::bigint) order by c.created_at), '[]')
      from public.conversations c
     where c.last_seq < 0
       and c.updated_at <= v_before);
end
$$;
comment on function care.legacy_orphans(integer) is
  'V1 conversations without a message that nobody has touched for so many seconds, oldest first.';

create or replace function care.repair_orphan(
  p_community_id uuid, p_conversation_id uuid, p_older_seconds integer, p_actor text)
returns boolean
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_orphan public.conversations := care.lock_legacy(p_community_id, p_conversation_id);
  v_before timestamptz := clock_timestamp() - make_interval(secs => p_older_seconds);
begin
  -- Completed meanwhile, or under way again: each step of a retry that is met half way begins by touching the row.
  if v_orphan.id is null or v_orphan.last_seq >= 0 or v_orphan.updated_at > v_before or exists (
       select 1
         from public.messages m
        where m.community_id = p_community_id
          and m.conversation_id = p_conversation_id) then
    return false;
  end if;
  delete from public.conversation_participants p
   where p.community_id = p_community_id
     and p.conversation_id = p_conversation_id;
  delete from public.conversations c
   where c.community_id = p_community_id
     and c.id = p_conversation_id;
  perform care.audit(null, p_actor, 'legacy.repair', p_conversation_id::text, true, jsonb_build_object(
    'kind', 'orphan', 'community_id', p_community_id, 'help_request_id', v_orphan.help_request_id,
    'helper_id', v_orphan.created_by, 'opened_at', v_orphan.created_at));
  return true;
end
$$;
comment on function care.repair_orphan(uuid, uuid, integer, text) is
  'Removes what V1 left half opened, if it is still so: nobody''s words are in it. The helper''s next offer opens anew.';

create or replace function care.repair_unread(p_community_id uuid, p_conversation_id uuid, p_user_id uuid, p_actor text)
returns boolean
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_member record;
  v_unread integer;
begin
  perform 1
     from public.profiles p
    where p.community_id = p_community_id
      and p.user_id = p_user_id
      for no key update;
  -- As mark_read: the row first, then the count; a message that commits in between waits for it and adds itself.
  select m.last_read_seq, m.unread
    into v_member
    from public.conversation_members m
   where m.community_id = p_community_id
     and m.conversation_id = p_conversation_id
     and m.user_id = p_user_id
     for no key update;
  v_unread := care.count_unread(p_community_id, p_conversation_id, p_user_id, v_member.last_read_seq);
  if v_unread = v_member.unread or v_member.unread is null then
    return false;
  end if;
  update public.conversation_members m
     set unread = v_unread
   where m.community_id = p_community_id
     and m.conversation_id = p_conversation_id
     and m.user_id = p_user_id;
  perform care.audit(null, p_actor, 'legacy.repair', p_conversation_id::text, true, jsonb_build_object(
    'kind', 'unread_sum', 'community_id', p_community_id, 'user_id', p_user_id, 'from', v_member.unread,
    'to', v_unread));
  return true;
end
$$;
comment on function care.repair_unread(uuid, uuid, uuid, text) is
  'Counts a member''s unread messages of one conversation, of either engine, anew; whether the count was wrong.';
