-- How a function answers: refusals as values, faults to the server log. Nothing here names a table or a person.

create or replace function care.words(p_code text, p_reason text default null)
returns text
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- The sentences of WORDS in errors.py; a test compares the two.
  return case p_code
    when 'conversation_exists' then 'You already have a conversation about this request.'
    when 'help_request_unavailable' then 'This request is no longer taking offers.'
    when 'permission_denied' then case p_reason
      when 'identity' then 'Please sign in as yourself to do this.'
      when 'not_approved' then 'Your account has to be approved first.'
      when 'restricted' then 'Your account is restricted at the moment. Your status page says why.'
      when 'not_participant' then 'This is not one of your conversations. Go back to your messages.'
      when 'not_active' then 'This conversation takes no new messages. Whoever ended it can open it again.'
      when 'role' then 'Only the person this belongs to can do this. You could ask them.'
      else 'You may not do this. If you think you should, ask a coordinator.'
    end
    when 'validation_error' then case p_reason
      when 'own_request' then 'This is your own request. Offers come from other members.'
      else 'Please check what you wrote.'
    end
    when 'not_found' then 'We could not find this.'
    when 'rate_limited' then 'That was a lot in a short time. Please wait a little and try again.'
    when 'idempotency_mismatch' then 'This was sent before with other words. Please send it anew.'
    when 'conflict' then case p_reason
      when 'state' then 'That is not possible in the present state. Reload and look again.'
      when 'last_coordinator' then 'You are the only coordinator here. Ask whoever runs this site to make somebody else one first.'
      when 'last_operator' then 'You are the only operator of this site. Make somebody else one first, on the command line.'
      else 'Something changed in the meantime. Reload and look again.'
    end
    when 'unavailable' then case p_reason
      when 'paused' then 'New offers are paused at the moment. Your conversations go on. Please try again later.'
      else 'We could not send this yet. Try again in a moment.'
    end
    else 'Something went wrong on our side. Please quote the reference.'
  end;
end
$$;
comment on function care.words(text, text) is 'The English sentence for a code and its reason.';

create or replace function care.wait_words(p_seconds integer)
returns text
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_minutes integer := (p_seconds + 59) / 60;
begin
  -- The sentence of wait_words in errors.py; a test compares the two.
  return format('That was a lot in a short time. Please wait until %s passed, then try again.', case
    when v_minutes <= 1 then 'a minute has'
    when v_minutes < 120 then v_minutes || ' minutes have'
    else (v_minutes + 59) / 60 || ' hours have'
  end);
end
$$;
comment on function care.wait_words(integer) is 'The sentence for somebody who has to wait so many seconds.';

create or replace function care.refusal(p_code text, p_reason text default null, p_extra jsonb default '{}')
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return jsonb_build_object('success', false, 'error', p_code, 'message', care.words(p_code, p_reason))
      || case when p_reason is null then '{}'::jsonb else jsonb_build_object('reason', p_reason) end
      || p_extra;
end
$$;
comment on function care.refusal(text, text, jsonb) is 'A refusal as contract.md shapes it: {success: false, error, message[, reason] …}.';

create or replace function care.invalid(p_field text, p_words text)
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return care.refusal('validation_error', null,
    jsonb_build_object('message', p_words, 'fields', jsonb_build_object(p_field, p_words)));
end
$$;
comment on function care.invalid(text, text) is 'A validation_error for one field, its sentence under fields and as the message.';

create or replace function care.check_text(p_field text, p_text text, p_minimum integer, p_maximum integer)
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_length integer := coalesce(char_length(p_text), 0);
begin
  -- The rules and sentences of text.check in text.py. The text comes trimmed; with a minimum of 0 it may be absent.
  if p_text is null or care.is_blank(p_text) then
    return case when p_minimum > 0 then care.invalid(p_field, 'Please write something here.') end;
  end if;
  if v_length < p_minimum then
    return care.invalid(p_field, format('Please write at least %s characters.', p_minimum));
  end if;
  if v_length > p_maximum then
    return care.invalid(p_field, format('Please keep this to %s characters; it has %s.', p_maximum, v_length));
  end if;
  return null;
end
$$;
comment on function care.check_text(text, text, integer, integer) is
  'The refusal of a trimmed text that breaks its limits (code points), or null.';

create or replace function care.is_transient(p_sqlstate text)
returns boolean
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return left(p_sqlstate, 2) in ('08', '40', '53', '55', '57');
end
$$;
comment on function care.is_transient(text) is 'Whether a fault passes by itself and must be raised, so that the caller retries (rule 11).';

create or replace function care.fault(p_function text, p_sqlstate text, p_error text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- The error text can name constraints, never a row's values: those are in DETAIL, which is not logged (rule 20).
  raise log 'care fault in % [%]: SQLSTATE % %', p_function, care.request_header('x-request-id'), p_sqlstate, p_error;
  return care.refusal('server_error');
end
$$;
comment on function care.fault(text, text, text) is 'Writes an unexpected error to the server log and answers server_error without it (rule 7).';
