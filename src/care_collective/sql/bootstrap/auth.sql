-- A stand-in for a platform's auth.uid(), made only where there is none. Our own functions never call it.
do $$
begin
  if to_regprocedure('auth.uid()') is not null then
    return;
  end if;
  create schema if not exists auth;
  create function auth.uid()
  returns uuid
  stable
  set search_path = pg_catalog, pg_temp
  language sql
  as $body$
    select nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', '')::uuid
  $body$;
  revoke all on function auth.uid() from public;
  grant usage on schema auth to anon, authenticated, service_role;
  grant execute on function auth.uid() to anon, authenticated, service_role;
end
$$;
