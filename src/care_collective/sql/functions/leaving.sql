-- Leaving a community: what is a person's own goes, what another person reads stays as a tombstone (product.md, rule 17).

create or replace function public.delete_account(p_confirm text)
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
  v_me care.writing;
  v_refusal jsonb;
begin
  v_caller := care.caller();
  v_community_id := care.community();
  -- No key: a deletion erases the keys, and its retry finds no member. The other coordinators' profiles are locked with
  -- the caller's, so that of the last two who leave at once one stays.
  v_me := care.begin_write(v_caller, 'own',
    p_invalid => case when p_confirm is distinct from 'delete' then
      care.invalid('confirm', 'To delete your account, write delete here.') end,
    p_others => care.other_coordinators(v_community_id, v_caller));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_refusal := care.check_leaving(v_me.community_id, v_me.user_id);
  if v_refusal is not null then
    return v_refusal;
  end if;
  perform care.erase_member(v_me.community_id, v_me.user_id, 'a member');
  return jsonb_build_object('success', true, 'message', 'Your account is deleted.');
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('delete_account', sqlstate, sqlerrm);
end
$$;
comment on function public.delete_account(text) is
  'Deletes the caller''s account in the community and erases their personal data, for good; p_confirm is the word delete. What they wrote to others stays readable to those, as a former member''s. Their address and password go with their last community.';

create or replace function care.other_coordinators(p_community_id uuid, p_user_id uuid)
returns uuid[]
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return array(
    select p.user_id
      from public.profiles me
      join public.profiles p
        on p.community_id = me.community_id
       and p.is_coordinator
       and p.user_id <> me.user_id
       and p.deleted_at is null
     where me.community_id = p_community_id
       and me.user_id = p_user_id
       and me.is_coordinator);
end
$$;
comment on function care.other_coordinators(uuid, uuid) is
  'The other coordinators of a coordinator''s community; none for who is no coordinator.';

create or replace function care.check_leaving(p_community_id uuid, p_user_id uuid)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- Operators are few; locked in one step by id, as profiles are.
  perform 1
     from care.operators o
    where exists (select 1 from care.operators me where me.user_id = p_user_id)
    order by o.user_id
      for no key update;
  return case
    when exists (
           select 1
             from public.profiles p
            where p.community_id = p_community_id
              and p.user_id = p_user_id
              and p.is_coordinator)
     and care.other_coordinators(p_community_id, p_user_id) = '{}' then
      care.refusal('conflict', 'last_coordinator')
    when not care.lives_elsewhere(p_community_id, p_user_id)
     and exists (select 1 from care.operators o where o.user_id = p_user_id)
     and not exists (select 1 from care.operators o where o.user_id <> p_user_id) then
      care.refusal('conflict', 'last_operator')
  end;
end
$$;
comment on function care.check_leaving(uuid, uuid) is
  'The refusal of somebody without whom a community has no coordinator or the deployment no operator, or null.';

create or replace function care.lives_elsewhere(p_community_id uuid, p_user_id uuid)
returns boolean
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- Whoever joins or leaves another community under the same account waits here, and is seen by what follows.
  perform 1
     from care.users u
    where u.id = p_user_id
      for no key update;
  return exists (
    select 1
      from public.profiles p
     where p.user_id = p_user_id
       and p.community_id <> p_community_id
       and p.deleted_at is null);
end
$$;
comment on function care.lives_elsewhere(uuid, uuid) is
  'Whether a person is a member of another community, too; locks their account.';

create or replace function care.erase_member(p_community_id uuid, p_user_id uuid, p_by text)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_elsewhere boolean := care.lives_elsewhere(p_community_id, p_user_id);
begin
  perform care.end_threads(p_community_id, p_user_id, care.end_requests(p_community_id, p_user_id));
  perform care.erase_words(p_community_id, p_user_id);
  perform care.erase_belongings(p_community_id, p_user_id);
  update public.profiles p
     set display_name = 'Former member',
         town = null,
         is_coordinator = false,
         application_words = null,
         decision_reason = null,
         time_zone = null,
         locale = null,
         deleted_at = coalesce(p.deleted_at, v_now)
   where p.community_id = p_community_id
     and p.user_id = p_user_id;
  if not v_elsewhere then
    perform care.erase_account(p_user_id);
  end if;
  -- Who left is found by this line again after a restore of an older backup (docs/operators.md).
  perform care.audit(null, p_by, 'member.erase', p_user_id::text, true,
    jsonb_build_object('community_id', p_community_id, 'account', not v_elsewhere));
end
$$;
comment on function care.erase_member(uuid, uuid, text) is
  'Erases a locked member of a community: their requests end, their conversations become tombstones, the rest goes; with their last community the account itself. Writes a line of the audit log.';

create or replace function care.end_requests(p_community_id uuid, p_user_id uuid)
returns uuid[]
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_ended uuid[];
  v_thread record;
begin
  -- All of their own, so that nothing opens on one meanwhile, and those that they help with.
  v_ended := array(
    select r.id
      from (
        select o.id, o.status
          from public.help_requests o
         where o.community_id = p_community_id
           and (o.user_id = p_user_id or (o.helper_id = p_user_id and o.status = 'in_progress'))
         order by o.id
           for no key update
      ) r
     where care.takes_offers(r.status));
  update public.help_requests r
     set status = case when r.user_id = p_user_id then 'cancelled' else 'open' end,
         helper_id = case when r.user_id = p_user_id then r.helper_id end,
         in_progress_at = case when r.user_id = p_user_id then r.in_progress_at end,
         cancelled_at = case when r.user_id = p_user_id then v_now end,
         updated_at = v_now
   where r.community_id = p_community_id
     and r.id = any (v_ended);
  perform care.announce(p_community_id, p_user_id, 'request.cancelled', r.id, null)
     from public.help_requests r
    where r.community_id = p_community_id
      and r.id = any (v_ended)
      and r.user_id = p_user_id;
  -- Each other helper is told once, and the owner of what they were to help with.
  for v_thread in
    select t.id, t.help_request_id, t.requester_id, t.helper_id
      from care.threads t
     where t.community_id = p_community_id
       and t.help_request_id = any (v_ended)
       and p_user_id in (t.requester_id, t.helper_id)
  loop
    if v_thread.requester_id = p_user_id then
      perform care.notify(p_community_id, v_thread.helper_id, 'request.cancelled', p_user_id, v_thread.help_request_id,
        v_thread.id);
    else
      perform care.announce(p_community_id, p_user_id, 'helper.stepped_back', v_thread.help_request_id, v_thread.id);
      perform care.notify(p_community_id, v_thread.requester_id, 'helper.stepped_back', p_user_id,
        v_thread.help_request_id, v_thread.id);
    end if;
  end loop;
  return v_ended;
end
$$;
comment on function care.end_requests(uuid, uuid) is
  'Locks a leaving member''s requests and those they help with: their own are cancelled, the others are open again, and the others in them are told. Which ones they were.';

create or replace function care.end_threads(p_community_id uuid, p_user_id uuid, p_told uuid[])
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_ids uuid[] := array(
    select m.conversation_id
      from public.conversation_members m
     where m.community_id = p_community_id
       and m.user_id = p_user_id);
  v_thread care.thread;
begin
  perform 1
     from public.conversations_v2 c
    where c.community_id = p_community_id
      and c.id = any (v_ids)
    order by c.id
      for no key update;
  perform 1
     from public.conversations c
    where c.community_id = p_community_id
      and c.id = any (v_ids)
    order by c.id
      for no key update;
  for v_thread in
    select t.id, t.version, t.help_request_id, t.requester_id, t.helper_id, t.status, t.status, t.status_by, t.last_seq
      from care.threads t
     where t.community_id = p_community_id
       and t.id = any (v_ids)
       -- A first message that waits for review was never seen by its requester: it stays as it is.
       and (t.status = 'active' or (t.status = 'held' and t.requester_id = p_user_id))
  loop
    perform care.set_thread_status(p_community_id, v_thread, 'closed', p_user_id);
    perform care.announce(p_community_id, p_user_id, 'conversation.closed', v_thread.help_request_id, v_thread.id);
    if not v_thread.help_request_id = any (p_told) then
      perform care.notify(p_community_id,
        case when v_thread.helper_id = p_user_id then v_thread.requester_id else v_thread.helper_id end,
        'conversation.closed', p_user_id, v_thread.help_request_id, v_thread.id);
    end if;
  end loop;
  -- What the other one had declined or closed cannot be opened again either: whoever did that is nobody now.
  update public.conversations_v2 c
     set status_by = p_user_id
   where c.community_id = p_community_id
     and c.id = any (v_ids);
  update public.conversations c
     set status_by = p_user_id
   where c.community_id = p_community_id
     and c.id = any (v_ids);
end
$$;
comment on function care.end_threads(uuid, uuid, uuid[]) is
  'Closes a leaving member''s conversations of both engines for good; what was written in them stays. Whoever was told of the end of a request is not told again of its conversation.';
