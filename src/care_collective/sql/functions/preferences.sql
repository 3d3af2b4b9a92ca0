-- What a member has chosen: letters, quiet hours, new offers, language and clock; and the name and town they go by.

create or replace function care.preferences_of(p_community_id uuid, p_user_id uuid)
returns public.messaging_preferences
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_found public.messaging_preferences;
begin
  select p.*
    into v_found
    from public.messaging_preferences p
   where p.community_id = p_community_id
     and p.user_id = p_user_id;
  -- The defaults of the table's columns; a test compares the two.
  if v_found.user_id is null then
    v_found := row(p_community_id, p_user_id, 'each', time '21:00', time '08:00', false, null);
  end if;
  return v_found;
end
$$;
comment on function care.preferences_of(uuid, uuid) is 'A member''s preferences; who never chose any has the defaults.';
