-- Every foreign key is enforced.
-- `alter table … disable trigger all`, which some tools use for a fast load, leaves the key in the catalogue and lets
-- everything pass.
select n.nspname || '.' || c.relname as subject, 'is not enforced: ' || string_agg(distinct k.conname, ', ') as found
  from pg_trigger t
  join pg_class c
    on c.oid = t.tgrelid
  join pg_namespace n
    on n.oid = c.relnamespace
  join pg_constraint k
    on k.oid = t.tgconstraint
 where t.tgisinternal
   and t.tgenabled in ('D', 'R')
   and (n.nspname = 'care' or (n.nspname = 'public' and c.relowner = to_regrole('care_owner')))
 group by n.nspname, c.relname
