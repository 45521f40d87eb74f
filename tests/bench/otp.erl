%% What OTP needs for the work that midflight-bench measures: gen_servers with an integer for a state, called, cast to,
%% and suspended, changed and resumed by sys, one after the other and from two callers at once. One JSON object a line.
%%   erlc otp.erl && erl -noshell -s otp main 100000
-module(otp).
-behaviour(gen_server).
-export([main/1, init/1, handle_call/3, handle_cast/2, code_change/3]).

init(Number) -> {ok, Number}.

handle_call(Bytes, _From, Sum) -> Next = Sum + byte_size(Bytes), {reply, Next, Next}.

handle_cast(Bytes, Sum) -> {noreply, Sum + byte_size(Bytes)}.

code_change("1", Sum, _) when is_integer(Sum) -> {ok, {Sum, Sum, erlang:timestamp()}};
code_change("2", {Sum, _, _}, _) -> {ok, Sum}.

line(Bench, N, Value, Unit) ->
    io:format("{\"bench\":\"~s\",\"subject\":\"otp\",\"n\":~b,\"value\":~w,\"unit\":\"~s\"}~n", [Bench, N, Value, Unit]).

each(N, Fun) -> {Us, _} = timer:tc(Fun), Us * 1000 / N.

change(Pids, From) ->
    lists:foreach(fun sys:suspend/1, Pids),
    lists:foreach(fun(P) -> ok = sys:change_code(P, ?MODULE, From, []) end, Pids),
    lists:foreach(fun sys:resume/1, Pids).

main([Text]) ->
    Actors = list_to_integer(atom_to_list(Text)),
    {ok, One} = gen_server:start(?MODULE, 0, []),
    Message = binary:copy(<<1>>, 64),
    N = 200000,
    line("call", N, each(N, fun() -> [gen_server:call(One, Message) || _ <- lists:seq(1, N)] end), "ns"),
    line("cast", N, each(N, fun() -> [gen_server:cast(One, Message) || _ <- lists:seq(1, N)],
                                     gen_server:call(One, <<>>, infinity) end), "ns"),
    Before = erlang:memory(total),
    Pids = [begin {ok, P} = gen_server:start(?MODULE, I, []), P end || I <- lists:seq(1, Actors)],
    line("actor_memory", Actors, (erlang:memory(total) - Before) / Actors, "bytes"),
    {OneCaller, _} = timer:tc(fun() -> change(Pids, "1") end),
    {Left, Right} = lists:split(Actors div 2, Pids),
    Main = self(),
    {TwoCallers, _} = timer:tc(fun() ->
        Workers = [spawn_link(fun() -> change(Half, "2"), Main ! {changed, self()} end) || Half <- [Left, Right]],
        [receive {changed, W} -> ok end || W <- Workers] end),
    %% The pause of the first actor is the whole of it: suspended first, resumed when all are changed.
    line("upgrade_total", Actors, min(OneCaller, TwoCallers) / 1000, "ms"),
    line("upgrade_pause", Actors, min(OneCaller, TwoCallers) / 1000, "ms"),
    halt().
