-- Every view is security_invoker (rule 6).
-- Without it a view reads with its owner's rights: who may read the view reads the tables beneath it.
select n.nspname || '.' || c.relname as subject, 'reads with its owner''s rights' as found
  from pg_class c
  join pg_namespace n
    on n.oid = c.relnamespace
 where c.relkind = 'v'
   and not exists (
     select 1
       from pg_options_to_table(c.reloptions) o
      where o.option_name = 'security_invoker'
        and o.option_value::boolean)
   and (n.nspname = 'care' or (n.nspname = 'public' and c.relowner = to_regrole('care_owner')))
