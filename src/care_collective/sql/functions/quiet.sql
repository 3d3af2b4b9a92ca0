-- Quiet hours: when members are not written to, by the clocks of their own place.

create or replace function care.next_time(p_now timestamptz, p_zone text, p_time time)
returns timestamptz
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_zone text := p_zone;
  v_local timestamp;
  v_target timestamp;
  v_later timestamptz;
  v_earlier timestamptz;
  v_middle timestamptz;
begin
  begin
    v_local := p_now at time zone v_zone;
  exception when invalid_parameter_value then
    v_zone := 'UTC';
  end;
  v_zone := coalesce(v_zone, 'UTC');
  v_local := p_now at time zone v_zone;
  v_target := v_local::date + p_time;
  if v_target <= v_local then
    v_target := (v_local::date + 1) + p_time;
  end if;

  -- As if no clock were changed until then; what it shows then says what was changed.
  v_later := p_now + (v_target - v_local);
  if v_later at time zone v_zone <= v_target then
    return v_later + (v_target - (v_later at time zone v_zone));
  end if;
  v_earlier := v_later - ((v_later at time zone v_zone) - v_target);
  if v_earlier at time zone v_zone = v_target then
    return v_earlier;
  end if;
  -- The clock never shows it: the moment at which it jumps past, which is at a full minute.
  while v_later - v_earlier > interval '1 minute' loop
    v_middle := v_earlier + (v_later - v_earlier) / 2;
    if v_middle at time zone v_zone < v_target then
      v_earlier := v_middle;
    else
      v_later := v_middle;
    end if;
  end loop;
  return date_trunc('minute', v_later);
end
$$;
comment on function care.next_time(timestamptz, text, time) is
  'The first moment after p_now at which the clocks of a time zone show a time of day, or jump past it; an unknown zone is UTC.';

create or replace function care.quiet_until(p_now timestamptz, p_zone text, p_from time, p_to time)
returns timestamptz
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_time time;
begin
  begin
    v_time := p_now at time zone coalesce(p_zone, 'UTC');
  exception when invalid_parameter_value then
    v_time := p_now at time zone 'UTC';
  end;
  if (v_time >= p_from and v_time < p_to) or (p_from > p_to and (v_time >= p_from or v_time < p_to)) then
    return care.next_time(p_now, p_zone, p_to);
  end if;
  return null;
end
$$;
comment on function care.quiet_until(timestamptz, text, time, time) is
  'When the quiet hours that p_now falls into end, by the clocks of a time zone; null outside them. From = to: there are none.';

create or replace function care.zone_of(p_community_id uuid, p_user_id uuid)
returns text
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(p.time_zone, c.time_zone)
      from public.profiles p
      join public.communities c
        on c.id = p_community_id
     where p.community_id = p_community_id
       and p.user_id = p_user_id);
end
$$;
comment on function care.zone_of(uuid, uuid) is 'The time zone that a member lives by: their own, else the community''s.';

create or replace function care.quiet_of(p_community_id uuid, p_user_id uuid, p_now timestamptz)
returns timestamptz
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_preferences public.messaging_preferences := care.preferences_of(p_community_id, p_user_id);
begin
  return care.quiet_until(p_now, care.zone_of(p_community_id, p_user_id), v_preferences.quiet_from,
    v_preferences.quiet_to);
end
$$;
comment on function care.quiet_of(uuid, uuid, timestamptz) is 'When a member''s quiet hours end, null outside them.';
