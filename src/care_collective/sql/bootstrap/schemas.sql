-- The schemas and what a new object may start with. Run with the owner's URL, before and after which the runner
-- becomes care_owner: nothing of ours belongs to a superuser (rule 3).
do $$
declare
  -- From 16 on whoever made a role is its member, but may become it only by a grant that says so.
  v_may text := case when current_setting('server_version_num')::integer < 160000 then 'MEMBER' else 'SET' end;
begin
  -- Where the connecting role is no superuser it must be a member of care_owner to become it.
  if not pg_catalog.pg_has_role(current_user, 'care_owner', v_may) then
    execute pg_catalog.format('grant care_owner to %I', current_user);
  end if;
  -- The pool becomes care_app when the deployment has only the owner's URL (contract.md, settings).
  if not pg_catalog.pg_has_role(current_user, 'care_app', v_may) then
    execute pg_catalog.format('grant care_app to %I', current_user);
  end if;
  execute pg_catalog.format('revoke temporary on database %I from public', pg_catalog.current_database());
  execute pg_catalog.format('grant create on database %I to care_owner', pg_catalog.current_database());
end
$$;

revoke create on schema public from public;
grant usage, create on schema public to care_owner;
create schema if not exists care authorization care_owner;
revoke all on schema care from public;
grant usage on schema public to anon, authenticated, service_role, care_app;
grant usage on schema care to care_app;

-- Only where they are missing: the role is the server's, and another database of it may be migrated at this moment.
do $$
declare
  v_set text[] := (select s.setconfig from pg_catalog.pg_db_role_setting s
                    where s.setrole = 'care_app'::regrole and s.setdatabase = 0);
begin
  if v_set is null or not v_set @> array['statement_timeout=10s', 'idle_in_transaction_session_timeout=10s', 'TimeZone=UTC'] then
    alter role care_app set statement_timeout = '10s';
    alter role care_app set idle_in_transaction_session_timeout = '10s';
    alter role care_app set timezone = 'UTC';
  end if;
end
$$;

-- Without `in schema`: only this form takes EXECUTE from PUBLIC for objects to come (rule 2).
alter default privileges for role care_owner revoke all on functions from public, anon, authenticated, service_role;
alter default privileges for role care_owner revoke all on tables from public, anon, authenticated, service_role;
alter default privileges for role care_owner revoke all on sequences from public, anon, authenticated, service_role;
alter default privileges for role care_owner revoke all on types from public;
