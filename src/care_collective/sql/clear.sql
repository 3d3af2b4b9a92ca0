-- Takes away everything of ours in a database that holds nobody's row: before a restore, and after one that failed.
-- The caller has looked at the rows.
do $$
declare
  v_object record;
begin
  for v_object in
    select p.oid::pg_catalog.regprocedure::text as name
      from pg_catalog.pg_proc p
     where p.pronamespace = 'public'::pg_catalog.regnamespace
       and p.proowner = 'care_owner'::pg_catalog.regrole
  loop
    execute pg_catalog.format('drop function %s', v_object.name);
  end loop;
  drop schema if exists care cascade;
  for v_object in
    select pg_catalog.format('public.%I', c.relname) as name
      from pg_catalog.pg_class c
     where c.relnamespace = 'public'::pg_catalog.regnamespace
       and c.relkind in ('r', 'p')
       and c.relowner = 'care_owner'::pg_catalog.regrole
  loop
    execute pg_catalog.format('drop table if exists %s cascade', v_object.name);
  end loop;
end
$$;
