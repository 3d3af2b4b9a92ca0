-- Violations: row states the product must never have. Run with the owner's URL; nothing is changed.

create or replace function care.half_deleted()
returns table (kind text, engine text, community_id uuid, subject uuid, detail text)
stable
set search_path = pg_catalog, pg_temp
language sql
as $$
  -- a former member whose conversation still takes messages (a deletion is no engine's doing, whichever holds it), ...
  select 'former_member_active', 'both', t.community_id, t.id, 'member ' || p.user_id
    from public.profiles p
    join public.conversation_members m
      on m.community_id = p.community_id
     and m.user_id = p.user_id
    join care.threads t
      on t.community_id = m.community_id
     and t.id = m.conversation_id
   where p.deleted_at is not null
     and t.status = 'active'
   union all
  -- ... whose request goes on, or who is still to help with one, ...
  select 'former_member_active', 'both', r.community_id, r.id, 'member ' || p.user_id
    from public.profiles p
    join public.help_requests r
      on r.community_id = p.community_id
     and p.user_id in (r.user_id, r.helper_id)
   where p.deleted_at is not null
     and r.status in ('open', 'in_progress')
   union all
  -- ... or whose data are still there
  select 'former_member_not_erased', 'both', p.community_id, p.user_id, 'profile'
    from public.profiles p
   where p.deleted_at is not null
     and (p.display_name <> 'Former member'
          or num_nonnulls(p.town, p.application_words, p.decision_reason) > 0
          or exists (
            select 1
              from care.sessions s
             where s.community_id = p.community_id
               and s.user_id = p.user_id))
   union all
  select 'former_member_not_erased', 'both', p.community_id, p.user_id, 'account'
    from public.profiles p
    join care.users u
      on u.id = p.user_id
   where u.deleted_at is not null
     and (u.email <> 'deleted:' || u.id
          or exists (select 1 from care.credentials c where c.user_id = u.id))
$$;
comment on function care.half_deleted() is 'The violations of former members: what a deletion had to end or erase and is still there.';

create or replace function care.violations()
returns table (kind text, engine text, community_id uuid, subject uuid, detail text)
stable
set search_path = pg_catalog, pg_temp
language sql
as $$
  -- an orphan: a V1 conversation without a message
  select 'orphan', 'v1', c.community_id, c.id, 'opened ' || c.created_at
    from public.conversations c
   where not exists (
     select 1
       from public.messages m
      where m.community_id = c.community_id
        and m.conversation_id = c.id)
   union all
  select 'member_without_conversation', m.version, m.community_id, m.conversation_id, 'member ' || m.user_id
    from public.conversation_members m
   where not exists (
     select 1
       from care.threads t
      where t.community_id = m.community_id
        and t.id = m.conversation_id
        and t.version = m.version
        and m.user_id in (t.requester_id, t.helper_id))
   union all
  select 'conversation_without_member', t.version, t.community_id, t.id, 'member ' || p.user_id
    from care.threads t
   cross join lateral (values (t.requester_id), (t.helper_id)) as p (user_id)
   where not exists (
     select 1
       from public.conversation_members m
      where m.community_id = t.community_id
        and m.conversation_id = t.id
        and m.user_id = p.user_id)
   union all
  select 'participants_missing', 'v1', c.community_id, c.id, 'has ' || count(p.user_id)
    from public.conversations c
    left join public.conversation_participants p
      on p.community_id = c.community_id
     and p.conversation_id = c.id
   where c.last_seq >= 0
   group by c.community_id, c.id
  having count(p.user_id) <> 2
      or count(p.user_id) filter (where p.user_id in (c.created_by, c.requester_id)) <> 2
   union all
  select 'foreign_message', t.version, m.community_id, m.conversation_id, 'message ' || m.id
    from care.thread_messages m
    join care.threads t
      on t.community_id = m.community_id
     and t.id = m.conversation_id
   where m.sender_id not in (t.requester_id, t.helper_id)
      or m.recipient_id not in (t.requester_id, t.helper_id)
   union all
  select 'unread_sum', m.version, m.community_id, m.conversation_id,
         'member ' || m.user_id || ' has ' || m.unread || ', counted ' || counted.unread
    from public.conversation_members m
   cross join lateral (
     select count(*) as unread
       from care.thread_messages t
      where t.community_id = m.community_id
        and t.conversation_id = m.conversation_id
        and t.seq > m.last_read_seq
        and t.recipient_id = m.user_id
   ) counted
   where counted.unread <> m.unread
   union all
  select 'sequence_gap', t.version, t.community_id, t.id,
         'last_seq ' || t.last_seq || ', messages ' || counted.messages || ', highest ' || coalesce(counted.highest, -1)
    from care.threads t
   cross join lateral (
     select count(*) as messages, max(m.seq) as highest
       from care.thread_messages m
      where m.community_id = t.community_id
        and m.conversation_id = t.id
   ) counted
   where counted.messages <> t.last_seq + 1
      or counted.highest is distinct from t.last_seq
   union all
  select 'double_pair', 'v1+v2', a.community_id, a.id, 'also ' || b.id
    from public.conversations_v2 a
    join public.conversations b
      on b.community_id = a.community_id
     and b.help_request_id = a.help_request_id
     and b.created_by = a.helper_id
   union all
  select 'foreign_requester', c.version, c.community_id, c.id, 'owner ' || r.user_id
    from care.threads c
    join public.help_requests r
      on r.community_id = c.community_id
     and r.id = c.help_request_id
   where r.user_id <> c.requester_id
   union all
  select 'in_progress_without_helper', 'both', r.community_id, r.id, 'request'
    from public.help_requests r
   where r.status = 'in_progress'
     and r.helper_id is null
   union all
  select h.kind, h.engine, h.community_id, h.subject, h.detail
    from care.half_deleted() h
$$;
comment on function care.violations() is 'Every row state the product must never have, with its kind and engine; a sound database has none.';
