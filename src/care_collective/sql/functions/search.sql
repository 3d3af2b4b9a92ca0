-- Search in one's own conversations, without an index of words: what one call looks through is bounded, and its cursor
-- goes on from there. No case and no accents, as far as PostgreSQL's own immutable functions take them off.

create or replace function care.fold(p_text text)
returns text
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  -- In pieces: bringing marks into their order takes the square of their number, and nothing keeps anybody from writing
  -- a thousand in a row. Marks on two sides of a cut stay in the order in which they were typed.
  v_piece constant integer := 50;
  v_apart text := '';
begin
  if p_text is null or octet_length(p_text) = char_length(p_text) then
    return lower(p_text);
  end if;
  for v_place in 0 .. (char_length(p_text) - 1) / v_piece loop
    v_apart := v_apart || normalize(substr(p_text, v_place * v_piece + 1, v_piece), NFD);
  end loop;
  -- The marks that European languages and Vietnamese put over, under and beside their letters.
  return lower(translate(v_apart,
    U&'\0300\0301\0302\0303\0304\0306\0307\0308\0309\030A\030B\030C\031B\0323\0327\0328\0331', ''));
end
$$;
comment on function care.fold(text) is 'A text as search compares it: small letters without accents.';

create or replace function care.search_patterns(p_search text)
returns text[]
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return array(
    select '%' || replace(replace(replace(w, '\', '\\'), '%', '\%'), '_', '\_') || '%'
      from unnest(string_to_array(care.fold(care.text_or_null(p_search)), ' ')) as w
     where not care.is_blank(w));
end
$$;
comment on function care.search_patterns(text) is 'What LIKE looks for, one pattern a word of the search; none where nothing visible was written.';

create or replace function care.speaks_of(
  p_community_id uuid, p_user_id uuid, p_conversation_id uuid, p_patterns text[])
returns boolean
stable
set search_path = pg_catalog, pg_temp
-- As conversations_json: each join a look-up by a key.
set join_collapse_limit = 1
set enable_hashjoin = off
set enable_mergejoin = off
language plpgsql
as $$
declare
  v_newest constant integer := 1000;
begin
  return (
    select care.fold(case when p.deleted_at is null then p.display_name || ' ' else '' end || r.title) like all (p_patterns)
        or exists (
             select 1
               from care.thread_messages m
              where m.community_id = p_community_id
                and m.conversation_id = p_conversation_id
                and m.seq > t.last_seq - v_newest
                and m.hidden_at is null
                and care.fold(m.content) like all (p_patterns))
      from care.threads t
      join public.help_requests r
        on r.community_id = p_community_id
       and r.id = t.help_request_id
      join public.profiles p
        on p.community_id = p_community_id
       and p.user_id = case when t.helper_id = p_user_id then t.requester_id else t.helper_id end
     where t.community_id = p_community_id
       and t.id = p_conversation_id);
end
$$;
comment on function care.speaks_of(uuid, uuid, uuid, text[]) is
  'Whether all words stand in the other''s name and the title of a member''s conversation, or in one of its newest 1000 messages.';

create or replace function care.places_to_search(
  p_community_id uuid, p_user_id uuid, p_at timestamptz, p_id uuid, p_filter text,
  out ids uuid[], out times timestamptz[], out beyond boolean)
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_conversations constant integer := 1000;
  -- Of a long message with accents each costs half a millisecond.
  v_messages constant integer := 3000;
begin
  select array_agg(s.conversation_id) filter (where s.looked_at),
         array_agg(s.last_activity_at) filter (where s.looked_at),
         not bool_and(s.looked_at)
    into ids, times, beyond
    from (
      select n.conversation_id, n.last_activity_at,
             row_number() over newest <= v_conversations
             and coalesce(sum(n.messages) over (newest rows between unbounded preceding and 1 preceding), 0) < v_messages
               as looked_at
        from (
          select m.conversation_id, m.last_activity_at, least(t.last_seq + 1, 1000) as messages
            from public.conversation_members m
            join care.threads t
              on t.community_id = m.community_id
             and t.id = m.conversation_id
           where m.community_id = p_community_id
             and m.user_id = p_user_id
             and (m.last_activity_at, m.conversation_id) < (p_at, p_id)
             and case p_filter
                   when 'unread' then m.unread > 0
                   when 'archived' then m.archived_at is not null
                   else true
                 end
             and (t.status <> 'held' or t.helper_id = p_user_id)
           order by m.last_activity_at desc, m.conversation_id desc
           limit v_conversations + 1
        ) n
      window newest as (order by n.last_activity_at desc, n.conversation_id desc)
       order by n.last_activity_at desc, n.conversation_id desc
    ) s;
end
$$;
comment on function care.places_to_search(uuid, uuid, timestamptz, uuid, text) is
  'The newest conversations that one search looks through, 1000 with 3000 messages, and whether there are more beyond them.';

create or replace function care.found_page(
  p_community_id uuid, p_user_id uuid, p_cursor text, p_limit integer, p_filter text, p_patterns text[])
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_from record := care.read_cursor(p_cursor);
  v_refusal jsonb := coalesce(v_from.refusal, care.check_page(p_limit, p_filter));
  v_places record;
  v_found integer[] := array[]::integer[];
  v_last integer;
begin
  if v_refusal is not null then
    return v_refusal;
  end if;
  v_places := care.places_to_search(p_community_id, p_user_id, v_from.at, v_from.id, p_filter);
  for v_place in 1 .. coalesce(cardinality(v_places.ids), 0) loop
    if care.speaks_of(p_community_id, p_user_id, v_places.ids[v_place], p_patterns) then
      v_found := v_found || v_place;
      exit when cardinality(v_found) > p_limit;
    end if;
  end loop;
  -- A page may hold less than was asked for, and still there is more to look through.
  v_last := case when cardinality(v_found) > p_limit then v_found[p_limit]
                 when v_places.beyond then cardinality(v_places.ids) end;
  return jsonb_build_object(
    'success', true,
    'conversations', care.conversations_json(p_community_id, p_user_id,
      array(select v_places.ids[f] from unnest(v_found[:p_limit]) as f)),
    'next_cursor', care.write_cursor(v_places.times[v_last], v_places.ids[v_last]));
end
$$;
comment on function care.found_page(uuid, uuid, text, integer, text, text[]) is
  'A page of a member''s conversations in which words were found, newest activity first; under all also the archived ones.';
