-- No API role may make anything in our schemas, and of schema care only care_app knows (rules 2 and 3).
-- What a caller can create there can stand in a function's way; what they cannot enter they cannot look for.
select 'schema ' || n.nspname as subject,
       case when a.grantee = 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end || ': '
         || string_agg(distinct lower(a.privilege_type), ', ') as found
  from pg_namespace n
 cross join lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
 where n.nspname in ('public', 'care')
   and (a.privilege_type = 'CREATE' or (n.nspname = 'care' and a.grantee <> to_regrole('care_app')))
   and a.grantee <> n.nspowner
   and (a.grantee = 0 or exists (
     select 1
       from pg_roles r
      where r.rolname in ('anon', 'authenticated', 'service_role', 'care_app')
        and pg_has_role(r.oid, a.grantee, 'member')))
   and a.grantee <> to_regrole('care_owner')
 group by n.nspname, a.grantee
