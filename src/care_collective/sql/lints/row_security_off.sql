-- Row security is on for every table (rule 6).
-- With no policy it shows nothing, so that a table grant made by mistake shows nothing either.
select n.nspname || '.' || c.relname as subject, 'row security is off' as found
  from pg_class c
  join pg_namespace n
    on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and not c.relrowsecurity
   and (n.nspname = 'care' or (n.nspname = 'public' and c.relowner = to_regrole('care_owner')))
