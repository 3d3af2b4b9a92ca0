-- What members are told of: written by the transaction that did it (rule 13), listed, counted and marked as read.

create or replace function care.notify(
  p_community_id uuid, p_user_id uuid, p_kind text, p_actor_id uuid, p_help_request_id uuid, p_conversation_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  -- Who is writing mostly writes on, so that a letter about messages waits a little longer.
  v_due_at timestamptz := v_now + case p_kind when 'message.received' then interval '2 minutes' else interval '1 minute' end;
begin
  -- Nobody is told of what they did themselves, nor of anybody with whom there is a block: it would disclose it.
  insert into public.notifications as n
    (community_id, user_id, kind, actor_id, help_request_id, conversation_id, created_at, updated_at, due_at)
  select p.community_id, p.user_id, p_kind, p_actor_id, p_help_request_id, p_conversation_id, v_now, v_now, v_due_at
    from public.profiles p
   where p.community_id = p_community_id
     and p.user_id = p_user_id
     and p.user_id is distinct from p_actor_id
     and p.deleted_at is null
     and not exists (
       select 1
         from public.user_blocks b
        where b.community_id = p_community_id
          and b.blocker_id = p_user_id
          and b.blocked_id = p_actor_id)
     and not exists (
       select 1
         from public.user_blocks b
        where b.community_id = p_community_id
          and b.blocker_id = p_actor_id
          and b.blocked_id = p_user_id)
  on conflict (community_id, user_id, conversation_id) where kind = 'message.received' and read_at is null do update
    set count = n.count + 1,
        actor_id = excluded.actor_id,
        updated_at = excluded.updated_at,
        due_at = coalesce(n.due_at, greatest(excluded.due_at, n.again_at));
end
$$;
comment on function care.notify(uuid, uuid, text, uuid, uuid, uuid) is
  'Tells a member of something that another did: one row, or one message more in the unread row of its conversation. Nothing where a block stands between them, to the actor, or to who is deleted.';
