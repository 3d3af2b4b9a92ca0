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

create or replace function care.offers_paused(p_community_id uuid, p_user_id uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return exists (
    select 1
      from public.messaging_preferences p
     where p.community_id = p_community_id
       and p.user_id = p_user_id
       and p.offers_paused);
end
$$;
comment on function care.offers_paused(uuid, uuid) is 'Whether a member takes no new offers for now: one index probe.';

create or replace function care.preferences_json(p_community_id uuid, p_user_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_found public.messaging_preferences := care.preferences_of(p_community_id, p_user_id);
begin
  return (
    select jsonb_build_object(
             'success', true,
             'preferences', jsonb_build_object(
               'email', v_found.email,
               'quiet_from', to_char(v_found.quiet_from, 'HH24:MI'), 'quiet_to', to_char(v_found.quiet_to, 'HH24:MI'),
               'offers_paused', v_found.offers_paused,
               'locale', p.locale, 'time_zone', p.time_zone))
      from public.profiles p
     where p.community_id = p_community_id
       and p.user_id = p_user_id);
end
$$;
comment on function care.preferences_json(uuid, uuid) is
  'The one serializer of preferences. A null locale or time_zone is the community''s.';

create or replace function care.is_time_zone(p_name text)
returns boolean
volatile
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
language plpgsql
as $$
begin
  if p_name = 'UTC' then
    return true;
  end if;
  -- By place: abbreviations and offsets (EST, <X>+3, Etc/GMT-3) know no summer time.
  if split_part(p_name, '/', 1) not in ('Africa', 'America', 'Antarctica', 'Arctic', 'Asia', 'Atlantic', 'Australia',
       'Europe', 'Indian', 'Pacific') then
    return false;
  end if;
  -- Tried rather than looked up: pg_timezone_names reads every file there is (0.1 s), this reads one, once, and what it
  -- takes is what `at time zone` will take. The setting ends with this function and tells a name as its file is written,
  -- a rule in POSIX's form (Europe/Foo3) in capitals.
  perform set_config('TimeZone', p_name, true);
  return current_setting('TimeZone') = p_name;
exception
  when invalid_parameter_value then return false;
end
$$;
comment on function care.is_time_zone(text) is 'Whether a text is UTC or names a place''s time zone, such as Europe/Lisbon, as the server knows it.';

create or replace function care.is_time_of_day(p_time text)
returns boolean
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return translate(p_time, '123456789', '000000000') = '00:00'
     and p_time < '24' collate "C" and substr(p_time, 4) < '60' collate "C";
end
$$;
comment on function care.is_time_of_day(text) is 'Whether a text is a time from 00:00 to 23:59.';

create or replace function care.check_preferences(
  p_email text, p_quiet_from text, p_quiet_to text, p_offers_paused boolean, p_locale text, p_time_zone text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return case
    when p_email is null or p_email not in ('each', 'daily', 'off') then
      care.invalid('email', 'Choose each, daily or off.')
    when care.is_time_of_day(p_quiet_from) is not true then
      care.invalid('quiet_from', 'Give a time of day, such as 21:00.')
    when care.is_time_of_day(p_quiet_to) is not true then
      care.invalid('quiet_to', 'Give a time of day, such as 21:00.')
    when p_offers_paused is null then care.invalid('offers_paused', 'Choose yes or no.')
    when p_locale not in ('en', 'es') then care.invalid('locale', 'Choose one of the languages.')
    when p_time_zone is not null and not care.is_time_zone(p_time_zone) then
      care.invalid('time_zone', 'Choose a time zone by its place, such as Europe/Lisbon.')
  end;
end
$$;
comment on function care.check_preferences(text, text, text, boolean, text, text) is 'The refusal of preferences that there are not, or null.';

create or replace function public.get_preferences()
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
  return coalesce(v_me.refusal, care.preferences_json(v_me.community_id, v_me.user_id));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('get_preferences', sqlstate, sqlerrm);
end
$$;
comment on function public.get_preferences() is
  'The caller''s own preferences: letters, quiet hours, new offers, language and time zone.';

create or replace function public.set_preferences(
  p_email text, p_quiet_from text, p_quiet_to text, p_offers_paused boolean, p_locale text default null,
  p_time_zone text default null)
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
  -- What one reads and is told is one's own also while one may not write to others.
  v_me := care.begin_write(care.caller(), 'read', 'preferences',
    jsonb_build_array(p_email, p_quiet_from, p_quiet_to, p_offers_paused, p_locale, p_time_zone),
    care.check_preferences(p_email, p_quiet_from, p_quiet_to, p_offers_paused, p_locale, p_time_zone));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  if p_offers_paused then
    -- Offers on their way hold the request and look at the pause under it: they are waited for, and what is opened
    -- is there before the pause is answered. After the answer nothing opens any more.
    perform 1
       from public.help_requests r
      where r.community_id = v_me.community_id
        and r.user_id = v_me.user_id
        and r.status in ('open', 'in_progress')
      order by r.id
        for no key update;
  end if;
  v_now := clock_timestamp();
  insert into public.messaging_preferences
    (community_id, user_id, email, quiet_from, quiet_to, offers_paused, updated_at)
  values
    (v_me.community_id, v_me.user_id, p_email, p_quiet_from::time, p_quiet_to::time, p_offers_paused, v_now)
  on conflict on constraint messaging_preferences_pkey do update
    set email = excluded.email,
        quiet_from = excluded.quiet_from,
        quiet_to = excluded.quiet_to,
        offers_paused = excluded.offers_paused,
        updated_at = excluded.updated_at;
  update public.profiles p
     set locale = p_locale,
         time_zone = p_time_zone
   where p.community_id = v_me.community_id
     and p.user_id = v_me.user_id;
  return care.remember(v_me, care.preferences_json(v_me.community_id, v_me.user_id));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('set_preferences', sqlstate, sqlerrm);
end
$$;
comment on function public.set_preferences(text, text, text, boolean, text, text) is
  'Sets all of the caller''s preferences: email each, daily or off; quiet hours as times of day, equal ones are none; whether new offers are paused; locale en or es and a time zone by its place, null is the community''s.';

create or replace function care.profile_json(p_community_id uuid, p_user_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select jsonb_build_object('success', true,
             'profile', jsonb_build_object('display_name', p.display_name, 'town', p.town))
      from public.profiles p
     where p.community_id = p_community_id
       and p.user_id = p_user_id);
end
$$;
comment on function care.profile_json(uuid, uuid) is 'The one serializer of what a member tells others of themselves.';

create or replace function public.get_profile()
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
  return coalesce(v_me.refusal, care.profile_json(v_me.community_id, v_me.user_id));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('get_profile', sqlstate, sqlerrm);
end
$$;
comment on function public.get_profile() is 'The name and town by which the caller is known to other members.';

create or replace function public.set_profile(p_display_name text, p_town text default null)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_name text;
  v_town text;
begin
  v_name := care.trim_text(p_display_name);
  v_town := care.text_or_null(p_town);
  v_me := care.begin_write(care.caller(), 'present', 'profile', jsonb_build_array(v_name, v_town),
    coalesce(care.check_text('display_name', v_name, 1, 80), care.check_text('town', v_town, 0, 80)));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  update public.profiles p
     set display_name = v_name,
         town = v_town
   where p.community_id = v_me.community_id
     and p.user_id = v_me.user_id;
  return care.remember(v_me, care.profile_json(v_me.community_id, v_me.user_id));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('set_profile', sqlstate, sqlerrm);
end
$$;
comment on function public.set_profile(text, text) is
  'Corrects the caller''s display name and town, up to 80 characters each; also before they are approved.';
