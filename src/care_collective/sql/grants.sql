-- Who may do what. Everything is taken from everybody first, then given by name (rules 2, 4 and 6).
do $$
declare
  v_object record;
begin
  for v_object in
    select format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as name
      from pg_catalog.pg_proc p
      join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where n.nspname in ('public', 'care')
       and p.proowner = 'care_owner'::regrole
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role, care_app', v_object.name);
  end loop;
  for v_object in
    select format('%I.%I', n.nspname, c.relname) as name, c.relkind, c.relrowsecurity
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname in ('public', 'care')
       and c.relkind in ('r', 'v', 'p', 'm')
       and c.relowner = 'care_owner'::regrole
  loop
    execute format('revoke all on %s from public, anon, authenticated, service_role, care_app', v_object.name);
    -- Row security on and no policy: even a table grant by mistake shows nothing.
    if v_object.relkind in ('r', 'p') and not v_object.relrowsecurity then
      execute format('alter table %s enable row level security', v_object.name);
    end if;
  end loop;
end
$$;

-- offered to clients
grant execute on function
  public.create_conversation_atomic(uuid, uuid, text),
  public.send_message_v2(uuid, uuid, text),
  public.get_conversation_v2(uuid, uuid),
  public.get_messages(uuid, integer, integer, integer),
  public.mark_read(uuid, integer),
  public.list_conversations(text, integer, text, text),
  public.mute_conversation(uuid, timestamptz),
  public.archive_conversation(uuid, boolean),
  public.block_user(uuid),
  public.unblock_user(uuid),
  public.list_blocks(),
  public.list_offers(uuid, text, integer),
  public.accept_offer(uuid),
  public.decline_offer(uuid, text),
  public.step_back(uuid),
  public.release_helper(uuid),
  public.close_conversation(uuid),
  public.reopen_conversation(uuid),
  public.create_help_request(text, text, text, text, text),
  public.update_help_request(uuid, text, text, text, text, text),
  public.cancel_help_request(uuid, text),
  public.complete_help_request(uuid),
  public.reopen_help_request(uuid),
  public.get_help_request(uuid),
  public.list_help_requests(text, integer, text, text, text, text, boolean),
  public.report_problem(uuid, uuid, text, text, text),
  public.list_applications(text, integer, boolean),
  public.decide_application(uuid, text, text),
  public.get_preferences(),
  public.set_preferences(text, text, text, boolean, text, text),
  public.get_profile(),
  public.set_profile(text, text),
  public.list_notifications(text, integer, text),
  public.count_unread_notifications(),
  public.mark_notification_read(uuid),
  public.mark_all_notifications_read(),
  public.add_push_subscription(text, text, text),
  public.remove_push_subscription(text),
  public.list_push_subscriptions(),
  public.export_my_data(text),
  public.delete_account(text)
to authenticated, care_app;

-- the web process's own; V1's three steps are one call of the facade, which counts it
grant execute on function
  public.legacy_open_conversation(uuid, text),
  public.legacy_add_participants(uuid, uuid),
  public.legacy_write_first_message(uuid, uuid, text),
  care.community_for_host(text),
  care.get_community(uuid),
  care.take_sign_in(uuid, text, text),
  care.find_credential(text),
  care.store_secret(uuid, text),
  care.password_set_at(uuid),
  care.replace_password(uuid, text, timestamptz, bytea),
  care.ask_password_reset(uuid, text),
  care.sign_up(uuid, text, text, text, text, text),
  care.join_community(uuid, uuid, text, text, text),
  care.open_session(bytea, uuid, uuid, integer),
  care.read_session(bytea),
  care.hold_chore(text, uuid, integer),
  care.list_tended(),
  care.tend_requests(uuid, integer),
  care.close_session(bytea),
  care.me(),
  care.is_in_cohort(),
  care.report_node(uuid, text, text, bigint, text, text, boolean),
  care.forget_node(uuid),
  care.operate_rollout(text, jsonb),
  care.stop_rollout(text, text, text, uuid, text, text, jsonb, uuid, bigint),
  care.guard_look(text),
  care.guard_keep(text, bigint, timestamptz, double precision[], bigint, jsonb, uuid[]),
  care.guard_warn(text, text, text, jsonb, uuid),
  care.check_rows(text),
  care.take_probe(text, uuid),
  care.keep_probe(text, uuid, boolean, boolean, text),
  care.take_untold(),
  care.keep_told(uuid, text[], boolean, integer),
  care.health(),
  care.prune(),
  care.record_attempts(uuid, jsonb, bigint),
  care.record_minutes(uuid, jsonb),
  care.publish_hints(integer),
  care.untold_hints(integer),
  care.mark_told(jsonb),
  care.live(uuid, integer, uuid[]),
  care.plan_deliveries(integer, timestamptz, boolean),
  care.lease_deliveries(text, integer, integer, timestamptz),
  care.settle_delivery(uuid, uuid, text, text, double precision, timestamptz),
  care.settle_push(uuid, uuid, text, text, double precision, uuid[], uuid[], timestamptz),
  care.unsubscribe(uuid, uuid)
to care_app;
