-- The last step of the sample community: what no function does yet (a suspension, a closed request), and times that
-- make it look lived in. One transaction; the setting care.sample holds what the builder made. Only ever run on the
-- demo's own database, as its owner, where there is one community.

insert into public.user_restrictions (community_id, user_id, kind, why, until)
select p.community_id, p.user_id, 'suspended', s.why, now() + make_interval(days => s.days)
  from jsonb_to_recordset(current_setting('care.sample')::jsonb -> 'suspended') as s (user_id uuid, days integer, why text)
  join public.profiles p
    on p.user_id = s.user_id;

update public.help_requests r
   set status = 'closed',
       status_reason = s.reason
  from jsonb_to_recordset(current_setting('care.sample')::jsonb -> 'closed') as s (id uuid, reason text)
 where r.id = s.id;

update public.profiles p
   set created_at = now() - make_interval(days => case p.verification_status when 'pending' then 1 else 90 end),
       decided_at = now() - interval '89 days'
 where p.verification_status <> 'pending' or p.decided_at is null;

update public.help_requests r
   set created_at = now() - make_interval(secs => s.hours * 3600)
  from jsonb_to_recordset(current_setting('care.sample')::jsonb -> 'requests') as s (id uuid, hours double precision)
 where r.id = s.id;

-- A thread begins when a tenth of the request's age has passed, and its messages spread over six tenths.
update public.messages m
   set created_at = r.created_at + (now() - r.created_at) * (0.1 + 0.6 * m.seq / (c.last_seq + 1)),
       updated_at = r.created_at + (now() - r.created_at) * (0.1 + 0.6 * m.seq / (c.last_seq + 1))
  from public.conversations c
  join public.help_requests r
    on r.community_id = c.community_id
   and r.id = c.help_request_id
 where c.community_id = m.community_id
   and c.id = m.conversation_id;

update public.messages_v2 m
   set created_at = r.created_at + (now() - r.created_at) * (0.1 + 0.6 * m.seq / (c.last_seq + 1)),
       updated_at = r.created_at + (now() - r.created_at) * (0.1 + 0.6 * m.seq / (c.last_seq + 1))
  from public.conversations_v2 c
  join public.help_requests r
    on r.community_id = c.community_id
   and r.id = c.help_request_id
 where c.community_id = m.community_id
   and c.id = m.conversation_id;

update public.conversations c
   set created_at = r.created_at + (now() - r.created_at) * 0.1,
       updated_at = r.created_at + (now() - r.created_at) * (0.1 + 0.6 * greatest(c.last_seq, 0) / (c.last_seq + 2)),
       last_message_at = case when c.last_seq >= 0 then
         r.created_at + (now() - r.created_at) * (0.1 + 0.6 * c.last_seq / (c.last_seq + 1)) end
  from public.help_requests r
 where r.community_id = c.community_id
   and r.id = c.help_request_id;

update public.conversations_v2 c
   set created_at = r.created_at + (now() - r.created_at) * 0.1,
       updated_at = r.created_at + (now() - r.created_at) * (0.1 + 0.6 * c.last_seq / (c.last_seq + 1))
  from public.help_requests r
 where r.community_id = c.community_id
   and r.id = c.help_request_id;

update public.conversation_participants p
   set joined_at = c.created_at
  from public.conversations c
 where c.community_id = p.community_id
   and c.id = p.conversation_id;

update public.conversation_members m
   set last_activity_at = coalesce((
         select max(t.created_at)
           from care.thread_messages t
          where t.community_id = m.community_id
            and t.conversation_id = m.conversation_id), m.last_activity_at)
 where true;

update public.help_requests r
   set updated_at = r.created_at + (now() - r.created_at) * case when r.status = 'open' then 0 else 0.8 end,
       in_progress_at = case when r.in_progress_at is not null then r.created_at + (now() - r.created_at) * 0.75 end,
       completed_at = case when r.status = 'completed' then r.created_at + (now() - r.created_at) * 0.8 end,
       cancelled_at = case when r.status = 'cancelled' then r.created_at + (now() - r.created_at) * 0.8 end,
       closed_at = case when r.status = 'closed' then r.created_at + (now() - r.created_at) * 0.8 end;

-- Members were told when it happened, and have read it, but for what their unread messages and an open application are
-- about. No letter is due of any of it.
update public.notifications n
   set created_at = s.at,
       updated_at = s.at,
       read_at = case when not s.new then s.at end,
       due_at = null
  from (
    select e.id,
           coalesce(
             (select max(t.created_at)
                from care.thread_messages t
               where t.community_id = e.community_id
                 and t.conversation_id = e.conversation_id
                 and (e.kind <> 'offer.received' or t.seq = 0)),
             (select r.updated_at
                from public.help_requests r
               where r.community_id = e.community_id
                 and r.id = e.help_request_id),
             case e.kind when 'membership.waiting' then now() - interval '1 day' else now() - interval '89 days' end) as at,
           e.read_at is null and (e.kind = 'membership.waiting' or e.kind in ('message.received', 'offer.received')
             and exists (
               select 1
                 from public.conversation_members m
                where m.community_id = e.community_id
                  and m.user_id = e.user_id
                  and m.conversation_id = e.conversation_id
                  and m.unread > 0)) as new
      from public.notifications e
  ) s
 where s.id = n.id;

-- Whoever tries the demo has all limits before them.
delete from care.rate_counters;

update public.communities c
   set settings = c.settings || '{"sample": "finished"}'
 where c.slug = current_setting('care.sample')::jsonb ->> 'slug';
