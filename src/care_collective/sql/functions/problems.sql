-- Members tell that a conversation could not be opened or used. The guard counts the members, people read the words.

create or replace function public.report_problem(
  p_conversation_id uuid default null, p_help_request_id uuid default null, p_code text default null,
  p_reference text default null, p_words text default null)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_problem care.problem_reports;
  v_refusal jsonb;
begin
  v_problem.code := care.text_or_null(p_code);
  v_problem.reference := care.text_or_null(p_reference);
  v_problem.words := care.text_or_null(p_words);
  -- Whoever is approved and not banned: a roll-back follows from a few of these, so not whoever just signed up.
  v_me := care.begin_write(care.caller(), 'browse', 'report_problem',
    jsonb_build_array(p_conversation_id, p_help_request_id, v_problem.code, v_problem.reference, v_problem.words),
    coalesce(
      care.check_text('code', v_problem.code, 0, 60),
      care.check_text('reference', v_problem.reference, 0, 100),
      care.check_text('words', v_problem.words, 0, 500)));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_refusal := care.over_limit(v_me.community_id, v_me.user_id, 'problems');
  if v_refusal is not null then
    return v_refusal;
  end if;

  v_problem := care.place_problem(v_me, v_problem, p_conversation_id, p_help_request_id);
  insert into care.problem_reports
    (community_id, user_id, conversation_id, help_request_id, version, code, reference, words)
  values
    (v_me.community_id, v_me.user_id, v_problem.conversation_id, v_problem.help_request_id, v_problem.version,
     v_problem.code, v_problem.reference, v_problem.words)
  returning id into v_problem.id;
  perform care.count_use(v_me.community_id, v_me.user_id, 'problems');
  return care.remember(v_me, jsonb_build_object(
    'success', true, 'problem_id', v_problem.id, 'message', 'Thank you. We have noted it and will look at it.'));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('report_problem', sqlstate, sqlerrm);
end
$$;
comment on function public.report_problem(uuid, uuid, text, text, text) is
  'Tells that a conversation could not be opened or used: which, the code and reference that were shown, and words (to 500 characters), each where there is one.';

create or replace function care.place_problem(
  p_me care.writing, p_problem care.problem_reports, p_conversation_id uuid, p_help_request_id uuid)
returns care.problem_reports
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_thread care.thread := care.find_thread(p_me.community_id, p_me.user_id, p_conversation_id);
begin
  -- An id that is nothing to this member is left out, and the report is taken: it can be the very problem.
  p_problem.conversation_id := v_thread.id;
  p_problem.help_request_id := v_thread.help_request_id;
  p_problem.version := v_thread.version;
  if v_thread.id is null then
    select r.id
      into p_problem.help_request_id
      from public.help_requests r
     where r.community_id = p_me.community_id
       and r.id = p_help_request_id;
    select o.version
      into p_problem.version
      from care.engine_outcomes o
     where o.user_id = p_me.user_id
       and (o.reference = p_problem.reference or o.help_request_id = p_problem.help_request_id)
     order by o.opened_at desc
     limit 1;
  end if;
  return p_problem;
end
$$;
comment on function care.place_problem(care.writing, care.problem_reports, uuid, uuid) is
  'A report with the conversation, request and engine it is about, as far as they are the member''s and known.';
