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
  if p_kind <> 'message.received' and care.tell_again(p_community_id, p_user_id, p_kind, p_actor_id, p_conversation_id) then
    return;
  end if;
  -- Nobody is told of what they did themselves, nor of anybody with whom there is a block: it would disclose it.
  insert into public.notifications as n
    (community_id, user_id, kind, actor_id, help_request_id, conversation_id, created_at, updated_at, due_at)
  select p.community_id, p.user_id, p_kind, p_actor_id, p_help_request_id, p_conversation_id, v_now, v_now, v_due_at
    from public.profiles p
   where p.community_id = p_community_id
     and p.user_id = p_user_id
     and p.user_id is distinct from p_actor_id
     and p.deleted_at is null
     and not care.is_blocked(p_community_id, p_user_id, p_actor_id)
  on conflict (community_id, user_id, conversation_id) where kind = 'message.received' and read_at is null do update
    set count = n.count + 1,
        actor_id = excluded.actor_id,
        updated_at = excluded.updated_at,
        due_at = coalesce(n.due_at, greatest(excluded.due_at, n.again_at));
end
$$;
comment on function care.notify(uuid, uuid, text, uuid, uuid, uuid) is
  'Tells a member of something that another did: one row, one message more in the unread row of its conversation, or the unread row of the same kind anew. Nothing where a block stands between them, to the actor, or to who is deleted.';

create or replace function care.tell_again(
  p_community_id uuid, p_user_id uuid, p_kind text, p_actor_id uuid, p_conversation_id uuid)
returns boolean
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_due_at timestamptz := v_now + interval '1 minute';
begin
  -- Nothing bounds how often somebody closes and reopens: what was not read yet says it already.
  update public.notifications n
     set actor_id = p_actor_id,
         updated_at = v_now,
         due_at = coalesce(n.due_at, v_due_at)
   where n.community_id = p_community_id
     and n.user_id = p_user_id
     and n.conversation_id = p_conversation_id
     and n.kind = p_kind
     and n.read_at is null
     and not care.is_blocked(p_community_id, p_user_id, p_actor_id);
  return found;
end
$$;
comment on function care.tell_again(uuid, uuid, text, uuid, uuid) is
  'Brings the unread notification of the same kind about the same conversation up to date; false where there is none, or a block.';

create or replace function care.notify_other(p_me care.writing, p_thread care.thread, p_kind text)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  perform care.notify(p_me.community_id,
    case when p_thread.helper_id = p_me.user_id then p_thread.requester_id else p_thread.helper_id end,
    p_kind, p_me.user_id, p_thread.help_request_id, p_thread.id);
end
$$;
comment on function care.notify_other(care.writing, care.thread, text) is 'Tells the other person of a conversation what the caller did.';

create or replace function care.notify_helpers(p_community_id uuid, p_kind text, p_actor_id uuid, p_help_request_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_due_at timestamptz := v_now + interval '1 minute';
begin
  perform care.bring_back_helpers(p_community_id, p_actor_id, p_help_request_id);
  -- As tell_again, in one step however many helpers there are. Notifications are locked last.
  update public.notifications n
     set actor_id = p_actor_id,
         updated_at = v_now,
         due_at = coalesce(n.due_at, v_due_at)
    from care.threads t
   where t.community_id = p_community_id
     and t.help_request_id = p_help_request_id
     and n.community_id = p_community_id
     and n.user_id = t.helper_id
     and n.conversation_id = t.id
     and n.kind = p_kind
     and n.read_at is null
     and not care.is_blocked(p_community_id, t.helper_id, p_actor_id);
  -- Who is told is judged as notify judges.
  insert into public.notifications
    (community_id, user_id, kind, actor_id, help_request_id, conversation_id, created_at, updated_at, due_at)
  select t.community_id, t.helper_id, p_kind, p_actor_id, p_help_request_id, t.id, v_now, v_now, v_due_at
    from care.threads t
    join public.profiles p
      on p.community_id = p_community_id
     and p.user_id = t.helper_id
     and p.deleted_at is null
   where t.community_id = p_community_id
     and t.help_request_id = p_help_request_id
     and t.helper_id is distinct from p_actor_id
     and not care.is_blocked(p_community_id, t.helper_id, p_actor_id)
     and not exists (
       select 1
         from public.notifications n
        where n.community_id = p_community_id
          and n.user_id = t.helper_id
          and n.conversation_id = t.id
          and n.kind = p_kind
          and n.read_at is null);
end
$$;
comment on function care.notify_helpers(uuid, text, uuid, uuid) is
  'Tells every helper with a conversation on a request what became of it, each by that conversation, which comes back from an archive.';

create or replace function care.read_notifications(
  p_community_id uuid, p_user_id uuid, p_conversation_id uuid, p_unread integer)
returns integer
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_read integer;
begin
  -- Of messages that are read in part, what is left stays told.
  update public.notifications n
     set read_at = case when n.kind = 'message.received' and p_unread > 0 then null else v_now end,
         count = case when n.kind = 'message.received' and p_unread > 0 then p_unread else n.count end
   where n.community_id = p_community_id
     and n.user_id = p_user_id
     and n.conversation_id = p_conversation_id
     and n.read_at is null
     and not (n.kind = 'message.received' and n.count <= p_unread);
  get diagnostics v_read = row_count;
  return v_read;
end
$$;
comment on function care.read_notifications(uuid, uuid, uuid, integer) is
  'Marks what a member was told of a conversation as read, all but the messages that they have not read; how many rows.';

create or replace function care.count_notifications(p_community_id uuid, p_user_id uuid)
returns integer
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select count(*)
      from (
        select 1
          from public.notifications n
         where n.community_id = p_community_id
           and n.user_id = p_user_id
           and n.read_at is null
         limit 100
      ) s);
end
$$;
comment on function care.count_notifications(uuid, uuid) is 'How many of a member''s notifications are unread, up to 100.';

create or replace function care.notifications_json(p_community_id uuid, p_user_id uuid, p_ids uuid[])
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(
             jsonb_build_object(
               'id', n.id, 'kind', n.kind, 'count', n.count,
               'actor', case when a.user_id is not null then jsonb_build_object('user_id', a.user_id,
                 'display_name', a.display_name, 'town', a.town, 'deleted', a.deleted_at is not null) end,
               'help_request', case when r.id is not null then jsonb_build_object('id', r.id, 'title', r.title,
                 'accepted', coalesce(r.helper_id = p_user_id, false)) end,
               'conversation_id', n.conversation_id,
               'created_at', n.created_at, 'updated_at', n.updated_at, 'read_at', n.read_at)
             order by i.place), '[]')
      from unnest(p_ids) with ordinality as i (id, place)
      join public.notifications n
        on n.community_id = p_community_id
       and n.id = i.id
       and n.user_id = p_user_id
      left join public.profiles a
        on a.community_id = p_community_id
       and a.user_id = n.actor_id
      left join public.help_requests r
        on r.community_id = p_community_id
       and r.id = n.help_request_id);
end
$$;
comment on function care.notifications_json(uuid, uuid, uuid[]) is
  'The one serializer of notifications, in the order of their ids: who did what about which request.';

create or replace function public.list_notifications(
  p_cursor text default null, p_limit integer default 20, p_filter text default 'all')
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_me care.admission;
  v_from record;
  v_ids uuid[];
  v_times timestamptz[];
begin
  v_me := care.identify(care.caller(), 'read');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  v_from := care.read_cursor(p_cursor);
  if v_from.refusal is not null then
    return v_from.refusal;
  end if;
  if p_limit is null or p_limit not between 1 and 50 then
    return care.invalid('limit', 'Ask for 1 to 50 notifications.');
  end if;
  if p_filter is null or p_filter not in ('all', 'unread') then
    return care.invalid('filter', 'Choose all or unread.');
  end if;
  select array_agg(s.id), array_agg(s.updated_at)
    into v_ids, v_times
    from (
      select n.id, n.updated_at
        from public.notifications n
       where n.community_id = v_me.community_id
         and n.user_id = v_me.user_id
         and (n.updated_at, n.id) < (v_from.at, v_from.id)
         and (p_filter = 'all' or n.read_at is null)
       order by n.updated_at desc, n.id desc
       limit p_limit + 1
    ) s;
  return jsonb_build_object(
    'success', true,
    'notifications', care.notifications_json(v_me.community_id, v_me.user_id, v_ids[:p_limit]),
    'next_cursor', case when cardinality(v_ids) > p_limit then care.write_cursor(v_times[p_limit], v_ids[p_limit]) end);
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('list_notifications', sqlstate, sqlerrm);
end
$$;
comment on function public.list_notifications(text, integer, text) is
  'What the caller was told, newest first. p_limit 1 to 50, p_filter all or unread.';

create or replace function public.count_unread_notifications()
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
  return jsonb_build_object('success', true, 'unread', care.count_notifications(v_me.community_id, v_me.user_id));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('count_unread_notifications', sqlstate, sqlerrm);
end
$$;
comment on function public.count_unread_notifications() is 'How many of the caller''s notifications are unread, up to 100.';

create or replace function public.mark_notification_read(p_notification_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_now timestamptz;
begin
  v_me := care.begin_write(care.caller(), 'read', 'notification.read', jsonb_build_array(p_notification_id));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_now := clock_timestamp();
  update public.notifications n
     set read_at = coalesce(n.read_at, v_now)
   where n.community_id = v_me.community_id
     and n.id = p_notification_id
     and n.user_id = v_me.user_id;
  if not found then
    return care.refusal('not_found');
  end if;
  return care.remember(v_me, jsonb_build_object(
    'success', true, 'unread', care.count_notifications(v_me.community_id, v_me.user_id)));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('mark_notification_read', sqlstate, sqlerrm);
end
$$;
comment on function public.mark_notification_read(uuid) is 'Marks one of the caller''s notifications as read; a message''s stays unread in its thread.';

create or replace function public.mark_all_notifications_read()
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_now timestamptz;
begin
  v_me := care.begin_write(care.caller(), 'read', 'notification.read_all', '[]');
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_now := clock_timestamp();
  update public.notifications n
     set read_at = v_now
   where n.community_id = v_me.community_id
     and n.user_id = v_me.user_id
     and n.read_at is null;
  return care.remember(v_me, jsonb_build_object(
    'success', true, 'unread', care.count_notifications(v_me.community_id, v_me.user_id)));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('mark_all_notifications_read', sqlstate, sqlerrm);
end
$$;
comment on function public.mark_all_notifications_read() is 'Marks all of the caller''s notifications as read; their threads stay as they are.';

create or replace function care.prune_notifications()
returns integer
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_read_before timestamptz := v_now - interval '90 days';
  v_before timestamptz := v_now - interval '13 months';
  v_batch constant integer := 10000;
  v_notifications integer;
begin
  -- None was read before it was written: the first condition finds the old end of the table.
  delete from public.notifications n
   where n.ctid = any (array(
     select o.ctid
       from public.notifications o
      where o.created_at < v_read_before
        and (o.read_at < v_read_before or o.updated_at < v_before)
      limit v_batch
        for no key update skip locked));
  get diagnostics v_notifications = row_count;
  return v_notifications;
end
$$;
comment on function care.prune_notifications() is
  'Removes a batch of the notifications that were read 90 days ago, and of all after 13 months; how many went.';
