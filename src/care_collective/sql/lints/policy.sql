-- There are no policies: clients reach data through functions only (rule 6).
-- A permissive UPDATE policy once let either side rewrite the other's message, and policies with subqueries brought a
-- product down by recursion.
select n.nspname || '.' || c.relname as subject, 'policy ' || p.polname as found
  from pg_policy p
  join pg_class c
    on c.oid = p.polrelid
  join pg_namespace n
    on n.oid = c.relnamespace
 where n.nspname = 'care'
    or (n.nspname = 'public' and c.relowner = to_regrole('care_owner'))
