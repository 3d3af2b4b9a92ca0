-- What of a former member is erased, part by part, and what an operator's command asks of it.

create or replace function care.erase_words(p_community_id uuid, p_user_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- A title is part of the thread of whoever wrote to them about it; where nobody did, nobody needs it.
  update public.help_requests r
     set title = case
           when exists (
             select 1
               from care.threads t
              where t.community_id = p_community_id
                and t.help_request_id = r.id) then r.title
           else 'Erased request' end,
         description = null,
         exchange_offer = null,
         status_reason = null
   where r.community_id = p_community_id
     and r.user_id = p_user_id;
  update care.problem_reports r
     set words = null,
         reference = null
   where r.community_id = p_community_id
     and r.user_id = p_user_id;
  update public.conversation_members m
     set muted_until = null,
         archived_at = null
   where m.community_id = p_community_id
     and m.user_id = p_user_id
     and (m.muted_until is not null or m.archived_at is not null);
end
$$;
comment on function care.erase_words(uuid, uuid) is
  'Erases what a leaving member wrote that is no part of another person''s conversation.';

create or replace function care.erase_belongings(p_community_id uuid, p_user_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  delete from care.sessions s
   where s.community_id = p_community_id
     and s.user_id = p_user_id;
  delete from care.idempotency_keys k
   where k.community_id = p_community_id
     and k.user_id = p_user_id;
  delete from care.rate_counters r
   where r.community_id = p_community_id
     and r.user_id = p_user_id;
  delete from public.notifications n
   where n.community_id = p_community_id
     and n.user_id = p_user_id;
  -- A letter on its way is not found any more by whoever sends it.
  delete from care.deliveries d
   where d.community_id = p_community_id
     and d.user_id = p_user_id;
  delete from care.push_subscriptions s
   where s.community_id = p_community_id
     and s.user_id = p_user_id;
  delete from public.messaging_preferences p
   where p.community_id = p_community_id
     and p.user_id = p_user_id;
  delete from public.user_blocks b
   where b.community_id = p_community_id
     and p_user_id in (b.blocker_id, b.blocked_id);
end
$$;
comment on function care.erase_belongings(uuid, uuid) is
  'Removes the rows of a leaving member that nobody else reads, and the blocks around them.';

create or replace function care.erase_account(p_user_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_email text := (select u.email from care.users u where u.id = p_user_id);
begin
  delete from care.credentials c
   where c.user_id = p_user_id;
  delete from care.sessions s
   where s.user_id = p_user_id;
  delete from care.operators o
   where o.user_id = p_user_id;
  delete from care.rollout_cohort c
   where c.user_id = p_user_id;
  delete from care.sign_in_attempts a
   where a.account in (encode(sha256(convert_to(v_email, 'UTF8')), 'hex'),
           encode(sha256(convert_to('reset:' || v_email, 'UTF8')), 'hex'));
  -- No address has this form, so that it is never taken and never signed in to.
  update care.users u
     set email = 'deleted:' || p_user_id,
         deleted_at = coalesce(u.deleted_at, v_now)
   where u.id = p_user_id;
  perform care.erase_address(v_email);
end
$$;
comment on function care.erase_account(uuid) is 'Erases the account of a person who is no member of any community any more.';

create or replace function care.address_pattern(p_email text)
returns text
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- Anybody may join with an address that is the end or the beginning of somebody else's.
  return '(?<![A-Za-z0-9._%+-])' || regexp_replace(p_email, '([^a-z0-9])', '\\\1', 'g')
      || '(?![A-Za-z0-9-]|[.][A-Za-z0-9])';
end
$$;
comment on function care.address_pattern(text) is 'The regular expression of an address as a whole, for texts that name it among other words.';

create or replace function care.erase_address(p_email text)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_nobody constant text := 'former member';
  v_pattern constant text := care.address_pattern(p_email);
begin
  -- What an operator did stays, without who it was; short tables, and nobody leaves often.
  update care.audit_log l
     set actor = case when l.actor = p_email then v_nobody else l.actor end,
         details = case
           when l.details::text ~ v_pattern then jsonb_build_object('erased', true)
           else l.details end
   where l.actor = p_email
      or l.details::text ~ v_pattern;
  update care.rollout_changes c
     set actor = case when c.actor = p_email then v_nobody else c.actor end,
         words = left(regexp_replace(c.words, v_pattern, v_nobody, 'g'), 1000)
   where c.actor = p_email
      or c.words ~ v_pattern;
  update care.rollout_cohort c
     set added_by = v_nobody
   where c.added_by = p_email;
  update care.rollout_rules r
     set updated_by = v_nobody
   where r.updated_by = p_email;
  update care.legacy_moves m
     set moved_by = v_nobody
   where m.moved_by = p_email;
end
$$;
comment on function care.erase_address(text) is 'Takes an address out of what operators did and of whom it was done to.';

create or replace function care.erase_again(p_community_id uuid, p_user_id uuid, p_by text)
returns boolean
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  perform 1
     from public.profiles p
    where p.community_id = p_community_id
      and p.user_id = p_user_id
      for no key update;
  if not found then
    return false;
  end if;
  perform care.erase_member(p_community_id, p_user_id, p_by);
  return true;
end
$$;
comment on function care.erase_again(uuid, uuid, text) is
  'Erases a member for an operator''s command, as after a restore that brought them back, or what a deletion left; false where there never was such a member.';

create or replace function care.list_erased(p_since timestamptz)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('user_id', l.subject, 'community_id', l.details -> 'community_id',
                                'at', l.at, 'by', l.actor) order by l.at), '[]')
      from care.audit_log l
     where l.action = 'member.erase'
       and l.at >= p_since);
end
$$;
comment on function care.list_erased(timestamptz) is
  'Who was erased since a time, by id, for operators'' commands: a backup from before has them still.';
