"""torch's own attention layers: nn.MultiheadAttention and nn.TransformerEncoderLayer."""

import math

import torch
import torch.nn as nn


class AttentionPool(nn.Module):
    """A learned query that attends to a sequence."""

    def __init__(self, embed_dim=12, num_heads=3):
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, embed_dim))
        self.attn = nn.MultiheadAttention(embed_dim, num_heads, batch_first=True)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, x):
        query = self.query.expand(x.shape[0], -1, -1)
        out, _ = self.attn(query, x, x, need_weights=False)
        return self.norm(out + query).squeeze(1)


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, dropout=0.1, max_len=32):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(max_len, d_model)
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        x = x + self.pe[: x.size(1)]
        return self.dropout(x)


class TextClassifier(nn.Module):
    def __init__(self, vocab=20, d_model=12, nhead=3, d_hid=20, nlayers=2, classes=4):
        super().__init__()
        self.d_model = d_model
        self.embedding = nn.Embedding(vocab, d_model)
        self.pos_encoder = PositionalEncoding(d_model)
        encoder_layer = nn.TransformerEncoderLayer(
            d_model, nhead, d_hid, dropout=0.0, batch_first=True, activation="gelu", norm_first=True
        )
        self.transformer_encoder = nn.TransformerEncoder(
            encoder_layer, nlayers, norm=nn.LayerNorm(d_model), enable_nested_tensor=False
        )
        self.linear = nn.Linear(d_model, classes)

    def forward(self, src):
        src = self.embedding(src) * math.sqrt(self.d_model)
        src = self.pos_encoder(src)
        output = self.transformer_encoder(src)
        return self.linear(output.mean(dim=1))
