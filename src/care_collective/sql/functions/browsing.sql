-- Help requests as members see them: one, and the list.

create or replace function care.request_json(p_request public.help_requests, p_user_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_mine boolean := p_request.user_id = p_user_id;
begin
  return (
    select jsonb_build_object(
             'id', p_request.id, 'title', p_request.title, 'description', p_request.description,
             'category', p_request.category, 'urgency', p_request.urgency, 'status', p_request.status,
             'takes_offers', care.takes_offers(p_request.status)
               and not care.offers_paused(p_request.community_id, p_request.user_id),
             'status_reason', p_request.status_reason, 'exchange_offer', p_request.exchange_offer,
             'owner', jsonb_build_object('user_id', o.user_id, 'display_name', o.display_name, 'town', o.town,
               'deleted', o.deleted_at is not null),
             'is_mine', v_mine,
             'is_helper', coalesce(p_request.helper_id = p_user_id, false),
             -- Who helps is between the two of them.
             'helper_id', case when v_mine or p_request.helper_id = p_user_id then p_request.helper_id end,
             'conversation', (
               select jsonb_build_object('id', t.id, 'status',
                        care.shown_status(t.status, care.is_blocked(t.community_id, t.requester_id, t.helper_id)))
                 from care.threads t
                where t.community_id = p_request.community_id
                  and t.help_request_id = p_request.id
                  and t.helper_id = p_user_id),
             'created_at', p_request.created_at, 'updated_at', p_request.updated_at)
      from public.profiles o
     where o.community_id = p_request.community_id
       and o.user_id = p_request.user_id);
end
$$;
comment on function care.request_json(public.help_requests, uuid) is 'The one serializer of a help request, as a member sees it.';

create or replace function care.may_see(p_request public.help_requests, p_user_id uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- Who has a conversation on it keeps seeing it. For others what was closed, a blocked pair's and a former member's is
  -- not there.
  return p_request.user_id = p_user_id
      or exists (
        select 1
          from care.threads t
         where t.community_id = p_request.community_id
           and t.help_request_id = p_request.id
           and t.helper_id = p_user_id)
      or (p_request.status <> 'closed'
          and not care.is_blocked(p_request.community_id, p_user_id, p_request.user_id)
          and not care.has_left(p_request.community_id, p_request.user_id));
end
$$;
comment on function care.may_see(public.help_requests, uuid) is 'Whether a request exists for a member.';

create or replace function public.get_help_request(p_help_request_id uuid)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_me care.admission;
  v_request public.help_requests;
begin
  v_me := care.identify(care.caller(), 'browse');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  select r.*
    into v_request
    from public.help_requests r
   where r.community_id = v_me.community_id
     and r.id = p_help_request_id;
  if v_request.id is null or not care.may_see(v_request, v_me.user_id) then
    return care.refusal('not_found');
  end if;
  return jsonb_build_object('success', true, 'help_request', care.request_json(v_request, v_me.user_id));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('get_help_request', sqlstate, sqlerrm);
end
$$;
comment on function public.get_help_request(uuid) is 'One request of the community, as the caller sees it.';

create or replace function public.list_help_requests(
  p_cursor text default null, p_limit integer default 20, p_status text default 'taking_offers',
  p_category text default null, p_urgency text default null, p_search text default null, p_mine boolean default false)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_me care.admission;
  v_from record;
  v_refusal jsonb;
  v_search text;
  v_statuses text[];
  v_rows public.help_requests[];
  v_last public.help_requests;
begin
  v_me := care.identify(care.caller(), case when p_mine then 'read' else 'browse' end);
  v_from := care.read_cursor(p_cursor);
  v_search := lower(care.trim_text(coalesce(p_search, '')));
  v_statuses := case p_status
    when 'taking_offers' then array['open', 'in_progress']
    when 'all' then array['open', 'in_progress', 'completed', 'cancelled', 'closed']
    else array[p_status] end;
  v_refusal := coalesce(v_me.refusal, v_from.refusal, care.check_choices(p_category, p_urgency));
  if v_refusal is not null then
    return v_refusal;
  end if;
  if p_limit is null or p_limit not between 1 and 50 then
    return care.invalid('limit', 'Ask for 1 to 50 requests.');
  end if;
  if p_status is null
     or p_status not in ('taking_offers', 'all', 'open', 'in_progress', 'completed', 'cancelled', 'closed') then
    return care.invalid('status', 'Choose a status that requests have, taking_offers or all.');
  end if;
  if char_length(v_search) > 100 then
    return care.invalid('search', 'Please search for 100 characters at most.');
  end if;

  v_rows := array(
    select r
      from public.help_requests r
     where r.community_id = v_me.community_id
       and (r.created_at, r.id) < (v_from.at, v_from.id)
       and r.status = any (v_statuses)
       and (p_category is null or r.category = p_category)
       and (p_urgency is null or r.urgency = p_urgency)
       and (v_search = '' or strpos(lower(r.title || ' ' || coalesce(r.description, '')), v_search) > 0)
       and (not p_mine or r.user_id = v_me.user_id)
       and care.may_see(r, v_me.user_id)
     order by r.created_at desc, r.id desc
     limit p_limit + 1);
  v_last := v_rows[p_limit];
  return jsonb_build_object(
    'success', true,
    'help_requests', (
      select coalesce(jsonb_agg(care.request_json(r, v_me.user_id) order by r.created_at desc, r.id desc), '[]')
        from unnest(v_rows[:p_limit]) as r),
    'next_cursor', case when cardinality(v_rows) > p_limit then care.write_cursor(v_last.created_at, v_last.id) end);
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('list_help_requests', sqlstate, sqlerrm);
end
$$;
comment on function public.list_help_requests(text, integer, text, text, text, text, boolean) is
  'Requests of the community, newest first; by status, category, urgency and words; p_mine: the caller''s own.';
