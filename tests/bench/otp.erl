%% What OTP needs for the work that midflight-bench measures: gen_servers with an integer for a state, called, cast to,
%% and suspended, changed and resumed by sys, one after the other and from two callers at once; then the same while a
%% hundredth of them never stops changing its state. One JSON object a line.
%%   erlc otp.erl && erl -noshell -s otp main 100000
-module(otp).
-behaviour(gen_server).
-export([main/1, init/1, handle_call/3, handle_cast/2, code_change/3]).

init({busy, Number}) -> gen_server:cast(self(), again), {ok, Number};
init(Number) -> {ok, Number}.

handle_call(Bytes, _From, State) -> Next = add(byte_size(Bytes), State), {reply, sum(Next), Next}.

handle_cast(again, State) -> gen_server:cast(self(), again), {noreply, add(1, State)};
handle_cast(Bytes, State) -> {noreply, add(byte_size(Bytes), State)}.

add(N, {Sum, Then, At}) -> {Sum + N, Then, At};
add(N, Sum) -> Sum + N.

sum({Sum, _, _}) -> Sum;
sum(Sum) -> Sum.

code_change("1", Sum, _) when is_integer(Sum) -> {ok, {Sum, Sum, erlang:timestamp()}};
code_change("2", {Sum, _, _}, _) -> {ok, Sum}.

line(Bench, N, Value, Unit) ->
    io:format("{\"bench\":\"~s\",\"subject\":\"otp\",\"n\":~b,\"value\":~w,\"unit\":\"~s\"}~n", [Bench, N, Value, Unit]).

median(List) -> lists:nth((length(List) + 1) div 2, lists:sort(List)).

each(N, Fun) -> median([begin {Us, _} = timer:tc(Fun), Us * 1000 / N end || _ <- lists:seq(1, 7)]).

%% Bytes that this process of the system holds.
resident() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kib]} = re:run(Status, "VmRSS:\\s+([0-9]+)", [{capture, all_but_first, list}]),
    list_to_integer(Kib) * 1024.

change(Pids, From) ->
    lists:foreach(fun(P) -> ok = sys:suspend(P, infinity) end, Pids),
    lists:foreach(fun(P) -> ok = sys:change_code(P, ?MODULE, From, [], infinity) end, Pids),
    %% The busy ones come first in the list: stopped first and started last, they delay nobody.
    lists:foreach(fun(P) -> ok = sys:resume(P, infinity) end, lists:reverse(Pids)).

%% The faster of one caller and two, up and down again, in milliseconds.
upgrade(Pids) ->
    {OneCaller, _} = timer:tc(fun() -> change(Pids, "1") end),
    min(OneCaller / 1000, two_callers(Pids, "2")).

two_callers(Pids, From) ->
    {_, Halves} = lists:foldl(fun(P, {N, {L, R}}) when N rem 2 =:= 0 -> {N + 1, {[P | L], R}};
                                 (P, {N, {L, R}}) -> {N + 1, {L, [P | R]}} end, {0, {[], []}}, lists:reverse(Pids)),
    Main = self(),
    {Us, _} = timer:tc(fun() ->
        Workers = [spawn_link(fun() -> change(Half, From), Main ! {changed, self()} end) || Half <- tuple_to_list(Halves)],
        [receive {changed, W} -> ok end || W <- Workers] end),
    Us / 1000.

%% The longest time between two answers of one of them while all are changed.
gap(Pids, One) ->
    Main = self(),
    Client = spawn_link(fun() -> client(One, Main, erlang:monotonic_time(microsecond), 0) end),
    _ = upgrade(Pids),
    Client ! over,
    receive {gap, Us} -> Us / 1000 end.

client(One, Main, Last, Longest) ->
    _ = gen_server:call(One, <<>>, infinity),
    Now = erlang:monotonic_time(microsecond),
    receive over -> Main ! {gap, max(Longest, Now - Last)}
    after 0 -> client(One, Main, Now, max(Longest, Now - Last)) end.

main([Text]) ->
    Actors = list_to_integer(atom_to_list(Text)),
    {ok, One} = gen_server:start(?MODULE, 0, []),
    Message = binary:copy(<<1>>, 64),
    N = 200000,
    line("call", N, each(N, fun() -> [gen_server:call(One, Message) || _ <- lists:seq(1, N)] end), "ns"),
    line("cast", N, each(N, fun() -> [gen_server:cast(One, Message) || _ <- lists:seq(1, N)],
                                     gen_server:call(One, <<>>, infinity) end), "ns"),
    First = 1 bsl 50,
    _ = resident(),
    garbage_collect(),
    Before = resident(),
    Pids = [begin {ok, P} = gen_server:start(?MODULE, First, []), P end || _ <- lists:seq(1, Actors)],
    line("actor_memory", Actors, (resident() - Before) / Actors, "bytes"),
    Idle = median([upgrade(Pids) || _ <- lists:seq(1, 3)]),
    %% The pause of the first actor is the whole of it: suspended first, resumed when all are changed.
    line("upgrade_total", Actors, Idle, "ms"),
    line("upgrade_pause", Actors, Idle, "ms"),
    line("upgrade_gap", Actors, gap(Pids, hd(Pids)), "ms"),
    Busy = [begin {ok, P} = gen_server:start(?MODULE, {busy, First}, []), P end || _ <- lists:seq(1, max(1, Actors div 100))],
    %% A thousand processes that never rest keep everybody else waiting for a time slice of each of theirs, `sys` as well:
    %% this takes minutes, and after one there is no figure.
    {ok, _} = timer:apply_after(60000, erlang, halt, []),
    line("upgrade_pause_busy", Actors, two_callers(Busy ++ Pids, "1"), "ms"),
    halt().
