using MongoDB.Bson;
using MongoDB.Driver;

/// <summary>Those who said hello to `Id` and whom nobody asked for yet, each once.</summary>
public sealed class Inbox
{
    public string Id { get; set; } = "";

    public List<string> Senders { get; set; } = new List<string>();
}

/// <summary>The inboxes, in MongoDB. Its methods throw MongoException or TimeoutException while that does not answer.</summary>
public sealed class Hellos
{
    // Soon enough for a probe and for a person; the driver's own default is 30 seconds.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private readonly IMongoDatabase database;
    private readonly IMongoCollection<Inbox> inboxes;

    /// <summary>Connects when it is first used, and again whenever the connection was lost.</summary>
    public Hellos(IConfiguration configuration)
    {
        var settings = new MongoClientSettings
        {
            Server = new MongoServerAddress(Required(configuration, "MONGO_HOST")),
            Credential = MongoCredential.CreateCredential(
                "admin", Required(configuration, "MONGO_USERNAME"), Required(configuration, "MONGO_PASSWORD")),
            ConnectTimeout = Patience,
            ServerSelectionTimeout = Patience,
        };
        database = new MongoClient(settings).GetDatabase("hello");
        inboxes = database.GetCollection<Inbox>("inboxes");
    }

    public Task Send(string name, string sender, CancellationToken cancel)
    {
        var add = Builders<Inbox>.Update.AddToSet(inbox => inbox.Senders, sender);
        return inboxes.UpdateOneAsync(inbox => inbox.Id == name, add, new UpdateOptions { IsUpsert = true }, cancel);
    }

    /// <summary>Reads and empties an inbox in one step: of two who ask at once, only one gets each sender.</summary>
    public async Task<List<string>> Take(string name, CancellationToken cancel)
    {
        var taken = await inboxes.FindOneAndDeleteAsync(inbox => inbox.Id == name, cancellationToken: cancel);
        return taken?.Senders ?? new List<string>();
    }

    public async Task<bool> IsUp(CancellationToken cancel)
    {
        try
        {
            await database.RunCommandAsync<BsonDocument>(new BsonDocument("ping", 1), cancellationToken: cancel);
            return true;
        }
        catch (Exception error) when (error is MongoException or TimeoutException)
        {
            return false;
        }
    }

    private static string Required(IConfiguration configuration, string key) =>
        configuration[key] ?? throw new InvalidOperationException($"The environment variable {key} is not set.");
}
