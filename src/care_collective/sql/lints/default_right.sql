-- What care_owner makes later starts closed (rule 2).
-- PostgreSQL opens functions to PUBLIC and some platforms open tables to anon. Without an entry for functions the
-- default is PostgreSQL's, which is open.
select 'default privileges of care_owner' as subject,
       case when d.defaclnamespace = 0 then '' else 'in schema ' || d.defaclnamespace::regnamespace || ': ' end
         || case when a.grantee = 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end || ': '
         || string_agg(distinct lower(a.privilege_type), ', ') || ' on '
         || case d.defaclobjtype when 'f' then 'functions' when 'r' then 'tables' when 'S' then 'sequences'
              when 'T' then 'types' when 'n' then 'schemas' else 'large objects' end as found
  from pg_default_acl d
 cross join lateral aclexplode(d.defaclacl) a
 where d.defaclrole = to_regrole('care_owner')
   and a.grantee <> d.defaclrole
 group by d.defaclnamespace, d.defaclobjtype, a.grantee
 union all
select 'default privileges of care_owner', 'PUBLIC: ' || k.words
  from (values ('f', 'execute on functions'), ('T', 'usage on types')) as k (kind, words)
 where not exists (
   select 1
     from pg_default_acl d
    where d.defaclrole = to_regrole('care_owner')
      and d.defaclnamespace = 0
      and d.defaclobjtype::text = k.kind)
