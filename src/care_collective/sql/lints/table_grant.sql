-- No API role holds a right on a table or view, neither by its own name nor through PUBLIC or a role it is in (rule 6).
-- Clients reach data through functions only. What an operator gives a role of their own is theirs to answer for.
select n.nspname || '.' || c.relname as subject,
       case when a.grantee = 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end || ': '
         || string_agg(distinct lower(a.privilege_type), ', ') as found
  from pg_class c
  join pg_namespace n
    on n.oid = c.relnamespace
 cross join lateral aclexplode(coalesce(c.relacl, acldefault((case c.relkind when 'S' then 's' else 'r' end)::"char", c.relowner))) a
 where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
   and a.grantee <> c.relowner
   and (a.grantee = 0 or exists (
     select 1
       from pg_roles r
      where r.rolname in ('anon', 'authenticated', 'service_role', 'care_app')
        and pg_has_role(r.oid, a.grantee, 'member')))
   and (n.nspname = 'care' or (n.nspname = 'public' and c.relowner = to_regrole('care_owner')))
 group by n.nspname, c.relname, a.grantee
