-- No API role holds a right on a column (rule 6).
-- A right on one column is no right on the table, so that a look at the tables' grants does not show it.
select n.nspname || '.' || c.relname || '.' || t.attname as subject,
       case when a.grantee = 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end || ': '
         || string_agg(distinct lower(a.privilege_type), ', ') as found
  from pg_attribute t
  join pg_class c
    on c.oid = t.attrelid
  join pg_namespace n
    on n.oid = c.relnamespace
 cross join lateral aclexplode(t.attacl) a
 where not t.attisdropped
   and a.grantee <> c.relowner
   and (a.grantee = 0 or exists (
     select 1
       from pg_roles r
      where r.rolname in ('anon', 'authenticated', 'service_role', 'care_app')
        and pg_has_role(r.oid, a.grantee, 'member')))
   and (n.nspname = 'care' or (n.nspname = 'public' and c.relowner = to_regrole('care_owner')))
 group by n.nspname, c.relname, t.attname, a.grantee
