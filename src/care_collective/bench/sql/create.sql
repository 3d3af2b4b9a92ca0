-- Opens a conversation, in the statement that the web process sends (db/call.py). Request and pair are new each time.
\set helper 100000000001 + :client_id
\set request 300000000000 + :base + (:i + :client_id * :shift) % :span
\set i :i + 1
with request as materialized (
  select set_config('request.jwt.claims', '{"sub":"00000000-0000-4000-8000-' || :helper::text
           || '","role":"authenticated","app_metadata":{"community_id":"00000000-0000-4000-8000-900000000001"}}', true),
         set_config('request.headers', '{"idempotency-key":"' || :run::text || '-' || :client_id::text || '-' || :i::text || '","x-request-id":"00000000000000000000' || :helper::text || '"}', true)
)
select public.create_conversation_atomic(
         p_help_request_id => ('00000000-0000-4000-8000-' || :request::text)::uuid,
         p_helper_id => ('00000000-0000-4000-8000-' || :helper::text)::uuid,
         p_initial_message => 'Hello, I live two streets away and can help on Friday.'),
       current_setting('response.headers', true)
  from request;
