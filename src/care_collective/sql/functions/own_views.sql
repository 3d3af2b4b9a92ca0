-- What a member does with their own view of a conversation, of either engine: mute it, put it away. Nobody else learns
-- of it, so that nothing is announced.

create or replace function public.mute_conversation(p_conversation_id uuid, p_until timestamptz)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_thread care.thread;
  v_now timestamptz;
  v_until timestamptz;
begin
  -- The fingerprint is of the moment, not of how a session's time zone writes it.
  v_me := care.begin_write(care.caller(), 'read', 'mute',
    jsonb_build_array(p_conversation_id, case when isfinite(p_until) then extract(epoch from p_until) end),
    case when not isfinite(p_until) or p_until >= timestamptz '10000-01-01 00:00:00+00' then
      care.invalid('until', 'Name a moment before the year 10000.') end);
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_thread := care.find_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('permission_denied', 'not_participant');
  end if;
  v_now := clock_timestamp();
  v_until := case when p_until > v_now then p_until end;
  update public.conversation_members m
     set muted_until = v_until
   where m.community_id = v_me.community_id
     and m.conversation_id = v_thread.id
     and m.user_id = v_me.user_id;
  return care.remember(v_me, jsonb_build_object('success', true, 'muted_until', v_until));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('mute_conversation', sqlstate, sqlerrm);
end
$$;
comment on function public.mute_conversation(uuid, timestamptz) is
  'Mutes one of the caller''s conversations until a moment: no letters about it, and it still counts as unread. Null, or a moment that has passed, ends that.';

create or replace function public.archive_conversation(p_conversation_id uuid, p_archived boolean)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_thread care.thread;
  v_now timestamptz;
begin
  v_me := care.begin_write(care.caller(), 'read', 'archive', jsonb_build_array(p_conversation_id, p_archived),
    case when p_archived is null then care.invalid('archived', 'Say true to put it away, false to bring it back.') end);
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_thread := care.find_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('permission_denied', 'not_participant');
  end if;
  v_now := clock_timestamp();
  update public.conversation_members m
     set archived_at = case when p_archived then coalesce(m.archived_at, v_now) end
   where m.community_id = v_me.community_id
     and m.conversation_id = v_thread.id
     and m.user_id = v_me.user_id;
  return care.remember(v_me, jsonb_build_object('success', true, 'archived', p_archived));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('archive_conversation', sqlstate, sqlerrm);
end
$$;
comment on function public.archive_conversation(uuid, boolean) is
  'Puts one of the caller''s conversations away, or back into the list; it comes back by itself when the other one writes or decides.';

create or replace function care.bring_back(p_community_id uuid, p_conversation_id uuid, p_actor_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  update public.conversation_members m
     set archived_at = null
   where m.community_id = p_community_id
     and m.conversation_id = p_conversation_id
     and m.user_id <> p_actor_id
     and m.archived_at is not null;
end
$$;
comment on function care.bring_back(uuid, uuid, uuid) is
  'Takes a conversation out of the other one''s archive: there are news in it. The last lock of a transaction, as every member row.';

create or replace function care.bring_back_helpers(p_community_id uuid, p_actor_id uuid, p_help_request_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- Rows of many conversations: a locked one is waited for by nobody. Who holds it writes there, or looks at their own.
  update public.conversation_members m
     set archived_at = null
   where m.community_id = p_community_id
     and (m.conversation_id, m.user_id) in (
       select a.conversation_id, a.user_id
         from care.threads t
         join public.conversation_members a
           on a.community_id = p_community_id
          and a.conversation_id = t.id
          and a.user_id = t.helper_id
        where t.community_id = p_community_id
          and t.help_request_id = p_help_request_id
          and a.archived_at is not null
          and a.user_id is distinct from p_actor_id
          and not care.is_blocked(p_community_id, a.user_id, p_actor_id)
          for no key update of a skip locked);
end
$$;
comment on function care.bring_back_helpers(uuid, uuid, uuid) is
  'Takes the conversations on a request out of its helpers'' archives, but for those under a block: there are news of it.';
