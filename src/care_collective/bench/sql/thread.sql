-- Reads the newest page of a thread: the helper's own on request :thread.
\set helper 100000000001 + :client_id
\set conversation 400000000000 + (:client_id + 1) * 1000000 + :thread
with request as materialized (
  select set_config('request.jwt.claims', '{"sub":"00000000-0000-4000-8000-' || :helper::text
           || '","role":"authenticated","app_metadata":{"community_id":"00000000-0000-4000-8000-900000000001"}}', true),
         set_config('request.headers', '{"x-request-id":"00000000000000000000' || :helper::text || '"}', true)
)
select public.get_messages(
         p_conversation_id => ('00000000-0000-4000-8000-' || :conversation::text)::uuid,
         p_before => null::integer, p_after => null::integer, p_limit => 50),
       current_setting('response.headers', true)
  from request;
