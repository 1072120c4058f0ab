using MongoDB.Driver;

var builder = WebApplication.CreateBuilder(args);

// Requests take milliseconds here: a pod that is replaced shall not wait 30 seconds for them, as is the default.
builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(3));
builder.Services.AddSingleton(new Hellos(builder.Configuration));

var app = builder.Build();
var greeting = app.Configuration["GREETING"] ?? "Hello";

// MongoDB may start later than this, or again: that is no fault of the request, and no reason to end.
app.Use(async (context, next) =>
{
    try
    {
        await next(context);
    }
    catch (Exception error) when (error is MongoException or TimeoutException)
    {
        app.Logger.LogWarning("MongoDB does not answer: {Reason}", error.Message);
        context.Response.StatusCode = StatusCodes.Status503ServiceUnavailable;
        await context.Response.WriteAsJsonAsync(new { error = "The database does not answer, try again." });
    }
});

// Who sent hello to `name` since this was last asked.
app.MapGet("/hello/{name}", async (string name, Hellos hellos, HttpResponse response, CancellationToken cancel) =>
{
    var senders = await hellos.Take(name, cancel);
    response.Headers.CacheControl = "no-store";
    return Results.Ok(new { greeting = $"{greeting}, {name}!", from = senders });
});

// Sends hello to `name`; the body is the sender.
app.MapPost("/hello/{name}", async (string name, Hellos hellos, HttpRequest request, CancellationToken cancel) =>
{
    using var reader = new StreamReader(request.Body);
    var sender = (await reader.ReadToEndAsync(cancel)).Trim();
    if (sender.Length == 0)
    {
        return Results.BadRequest(new { error = "Who says hello? Send a name as the body." });
    }

    await hellos.Send(name, sender, cancel);
    app.Logger.LogInformation("{Sender} says hello to {Name}", sender, name);
    return Results.NoContent();
});

// For Kubernetes: whether this process runs, and whether it can do its work.
app.MapGet("/healthz/live", () => Results.Ok());
app.MapGet("/healthz/ready", async (Hellos hellos, CancellationToken cancel) =>
    Results.StatusCode(await hellos.IsUp(cancel) ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable));

app.Run();
