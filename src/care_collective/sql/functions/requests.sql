-- Help requests: ask, change, and the one table of what may follow what (product.md, life of a request).

create or replace function care.next_status(p_status text, p_action text)
returns text
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- Accepting, releasing and stepping back move between open and in_progress in offers.sql, under the same lock.
  return case p_action
    when 'complete' then case when p_status = 'in_progress' then 'completed' end
    when 'cancel' then case when care.takes_offers(p_status) then 'cancelled' end
    when 'reopen' then case when p_status in ('completed', 'cancelled') then 'open' end
  end;
end
$$;
comment on function care.next_status(text, text) is 'Where an owner''s action leads from a status, or null where it leads nowhere.';

create or replace function care.check_request(
  p_title text, p_description text, p_category text, p_urgency text, p_exchange_offer text)
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_refusal jsonb := coalesce(
    care.check_text('title', p_title, 5, 100),
    care.check_text('description', p_description, 0, 1000),
    care.check_text('exchange_offer', p_exchange_offer, 0, 300));
begin
  return coalesce(v_refusal, care.check_choices(p_category, p_urgency),
    case when p_category is null then care.invalid('category', 'Choose one of the categories.')
         when p_urgency is null then care.invalid('urgency', 'Choose normal, urgent or critical.') end);
end
$$;
comment on function care.check_request(text, text, text, text, text) is 'The refusal of a request''s trimmed fields, or null.';

create or replace function care.check_choices(p_category text, p_urgency text)
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return case
    when p_category not in (
      'health-caregiving', 'groceries-meals', 'transportation-errands', 'household-yard',
      'technology-administrative', 'social-companionship', 'other') then
      care.invalid('category', 'Choose one of the categories.')
    when p_urgency not in ('normal', 'urgent', 'critical') then
      care.invalid('urgency', 'Choose normal, urgent or critical.')
  end;
end
$$;
comment on function care.check_choices(text, text) is 'The refusal of a category or urgency that there is not, or null; null chooses nothing.';

create or replace function care.text_or_null(p_text text)
returns text
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return case when not care.is_blank(p_text) then care.trim_text(p_text) end;
end
$$;
comment on function care.text_or_null(text) is 'An optional text trimmed, or null where nothing visible was written.';

create or replace function public.create_help_request(
  p_title text, p_category text, p_description text default null, p_urgency text default 'normal',
  p_exchange_offer text default null)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_title text;
  v_description text;
  v_exchange_offer text;
  v_refusal jsonb;
  v_id uuid;
begin
  v_title := care.trim_text(p_title);
  v_description := care.text_or_null(p_description);
  v_exchange_offer := care.text_or_null(p_exchange_offer);
  v_me := care.begin_write(care.caller(), 'offer', 'ask',
    jsonb_build_array(v_title, p_category, v_description, p_urgency, v_exchange_offer),
    care.check_request(v_title, v_description, p_category, p_urgency, v_exchange_offer));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_refusal := care.over_limit(v_me.community_id, v_me.user_id, 'requests');
  if v_refusal is not null then
    return v_refusal;
  end if;
  insert into public.help_requests
    (community_id, user_id, title, description, category, urgency, exchange_offer)
  values (v_me.community_id, v_me.user_id, v_title, v_description, p_category, p_urgency, v_exchange_offer)
  returning id into v_id;
  perform care.count_use(v_me.community_id, v_me.user_id, 'requests');
  return care.remember(v_me, jsonb_build_object(
    'success', true, 'help_request_id', v_id, 'message', 'Your request can be seen by your neighbours now.'));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('create_help_request', sqlstate, sqlerrm);
end
$$;
comment on function public.create_help_request(text, text, text, text, text) is
  'Asks for help, 10 times a day. Title 5 to 100 characters, description to 1000, what one gives in return to 300.';

create or replace function public.update_help_request(
  p_help_request_id uuid, p_title text, p_category text, p_description text default null,
  p_urgency text default 'normal', p_exchange_offer text default null)
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
  v_title text;
  v_description text;
  v_exchange_offer text;
  v_request record;
begin
  v_title := care.trim_text(p_title);
  v_description := care.text_or_null(p_description);
  v_exchange_offer := care.text_or_null(p_exchange_offer);
  v_me := care.begin_write(care.caller(), 'offer', 'rewrite',
    jsonb_build_array(p_help_request_id, v_title, p_category, v_description, p_urgency, v_exchange_offer),
    care.check_request(v_title, v_description, p_category, p_urgency, v_exchange_offer));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_request := care.lock_own_request(v_me.community_id, v_me.user_id, p_help_request_id);
  if v_request.refusal is not null then
    return v_request.refusal;
  end if;
  if not care.takes_offers(v_request.status) then
    return care.refusal('conflict', 'state', jsonb_build_object('status', v_request.status));
  end if;
  v_now := clock_timestamp();
  update public.help_requests r
     set title = v_title,
         description = v_description,
         category = p_category,
         urgency = p_urgency,
         exchange_offer = v_exchange_offer,
         updated_at = v_now
   where r.community_id = v_me.community_id
     and r.id = p_help_request_id;
  return care.remember(v_me,
    jsonb_build_object('success', true, 'help_request_id', p_help_request_id, 'status', v_request.status));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('update_help_request', sqlstate, sqlerrm);
end
$$;
comment on function public.update_help_request(uuid, text, text, text, text, text) is
  'Rewrites one of the caller''s requests while it takes offers. Limits as create_help_request.';

create or replace function care.lock_own_request(
  p_community_id uuid, p_user_id uuid, p_help_request_id uuid, out refusal jsonb, out status text)
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_request public.help_requests;
begin
  select r.*
    into v_request
    from public.help_requests r
   where r.community_id = p_community_id
     and r.id = p_help_request_id
     for no key update;
  status := v_request.status;
  -- Whether it exists is judged as get_help_request judges it: a difference would tell of a block.
  refusal := case
    when v_request.id is null or not care.may_see(v_request, p_user_id) then care.refusal('not_found')
    when v_request.user_id <> p_user_id then care.refusal('permission_denied', 'role')
  end;
end
$$;
comment on function care.lock_own_request(uuid, uuid, uuid) is 'Locks a request for its owner; a refusal for everybody else.';

create or replace function care.move_request(p_help_request_id uuid, p_action text, p_reason text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_reason text := care.text_or_null(p_reason);
  -- To open a request again is to ask.
  v_me care.writing := care.begin_write(care.caller(), case p_action when 'reopen' then 'offer' else 'write' end,
    'request.' || p_action, jsonb_build_array(p_help_request_id, v_reason), care.check_text('reason', v_reason, 0, 500));
  v_request record;
  v_status text;
  v_topic text;
begin
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_request := care.lock_own_request(v_me.community_id, v_me.user_id, p_help_request_id);
  if v_request.refusal is not null then
    return v_request.refusal;
  end if;
  v_status := care.next_status(v_request.status, p_action);
  if v_status is null then
    return care.refusal('conflict', 'state', jsonb_build_object('status', v_request.status));
  end if;
  update public.help_requests r
     set status = v_status,
         status_reason = v_reason,
         helper_id = case when v_status = 'open' then null else r.helper_id end,
         in_progress_at = case when v_status = 'open' then null else r.in_progress_at end,
         completed_at = case when v_status = 'completed' then v_now end,
         cancelled_at = case when v_status = 'cancelled' then v_now end,
         updated_at = v_now
   where r.community_id = v_me.community_id
     and r.id = p_help_request_id;
  v_topic := 'request.' || case v_status when 'open' then 'reopened' else v_status end;
  perform care.announce(v_me.community_id, v_me.user_id, v_topic, p_help_request_id, null);
  perform care.notify_helpers(v_me.community_id, v_topic, v_me.user_id, p_help_request_id);
  return care.remember(v_me,
    jsonb_build_object('success', true, 'help_request_id', p_help_request_id, 'status', v_status));
end
$$;
comment on function care.move_request(uuid, text, text) is
  'The one way an owner moves a request between its states, by the table care.next_status, with its event.';

create or replace function public.cancel_help_request(p_help_request_id uuid, p_reason text default null)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  return care.move_request(p_help_request_id, 'cancel', p_reason);
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('cancel_help_request', sqlstate, sqlerrm);
end
$$;
comment on function public.cancel_help_request(uuid, text) is 'Takes one of the caller''s requests back, with an optional reason.';

create or replace function public.complete_help_request(p_help_request_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  return care.move_request(p_help_request_id, 'complete', null);
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('complete_help_request', sqlstate, sqlerrm);
end
$$;
comment on function public.complete_help_request(uuid) is 'Marks one of the caller''s requests as done.';

create or replace function public.reopen_help_request(p_help_request_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  return care.move_request(p_help_request_id, 'reopen', null);
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('reopen_help_request', sqlstate, sqlerrm);
end
$$;
comment on function public.reopen_help_request(uuid) is 'Opens one of the caller''s completed or cancelled requests again.';
