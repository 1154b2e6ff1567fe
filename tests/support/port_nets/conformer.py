"""A Conformer block: half-step feed forward, attention by matmul, GLU and depthwise Conv1d."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Swish(nn.Module):
    def forward(self, inputs):
        return inputs * inputs.sigmoid()


class FeedForwardModule(nn.Module):
    def __init__(self, encoder_dim, expansion_factor=4, dropout_p=0.1):
        super().__init__()
        self.sequential = nn.Sequential(
            nn.LayerNorm(encoder_dim),
            nn.Linear(encoder_dim, encoder_dim * expansion_factor),
            Swish(),
            nn.Dropout(p=dropout_p),
            nn.Linear(encoder_dim * expansion_factor, encoder_dim),
            nn.Dropout(p=dropout_p),
        )

    def forward(self, inputs):
        return self.sequential(inputs)


class RelativeMultiHeadAttention(nn.Module):
    """Attention with relative positions, Transformer-XL's."""

    def __init__(self, d_model, num_heads, dropout_p=0.1):
        super().__init__()
        self.d_model = d_model
        self.d_head = d_model // num_heads
        self.num_heads = num_heads
        self.sqrt_dim = math.sqrt(self.d_head)
        self.query_proj = nn.Linear(d_model, d_model)
        self.key_proj = nn.Linear(d_model, d_model)
        self.value_proj = nn.Linear(d_model, d_model)
        self.pos_proj = nn.Linear(d_model, d_model, bias=False)
        self.dropout = nn.Dropout(p=dropout_p)
        self.u_bias = nn.Parameter(torch.randn(num_heads, self.d_head))
        self.v_bias = nn.Parameter(torch.randn(num_heads, self.d_head))
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, query, key, value, pos_embedding):
        batch_size = value.size(0)
        query = self.query_proj(query).view(batch_size, -1, self.num_heads, self.d_head)
        key = self.key_proj(key).view(batch_size, -1, self.num_heads, self.d_head)
        key = key.permute(0, 2, 1, 3)
        value = self.value_proj(value).view(batch_size, -1, self.num_heads, self.d_head)
        value = value.permute(0, 2, 1, 3)
        pos_embedding = self.pos_proj(pos_embedding)
        pos_embedding = pos_embedding.view(batch_size, -1, self.num_heads, self.d_head)
        content_score = torch.matmul((query + self.u_bias).transpose(1, 2), key.transpose(2, 3))
        pos_score = torch.matmul(
            (query + self.v_bias).transpose(1, 2), pos_embedding.permute(0, 2, 3, 1)
        )
        pos_score = self._relative_shift(pos_score)
        score = (content_score + pos_score) / self.sqrt_dim
        attn = F.softmax(score, -1)
        attn = self.dropout(attn)
        context = torch.matmul(attn, value).transpose(1, 2)
        context = context.contiguous().view(batch_size, -1, self.d_model)
        return self.out_proj(context)

    def _relative_shift(self, pos_score):
        batch_size, num_heads, seq_length1, seq_length2 = pos_score.size()
        zeros = pos_score.new_zeros(batch_size, num_heads, seq_length1, 1)
        padded_pos_score = torch.cat([zeros, pos_score], dim=-1)
        padded_pos_score = padded_pos_score.view(
            batch_size, num_heads, seq_length2 + 1, seq_length1
        )
        pos_score = padded_pos_score[:, :, 1:].view_as(pos_score)
        return pos_score


class MultiHeadedSelfAttentionModule(nn.Module):
    def __init__(self, d_model, num_heads, dropout_p=0.1, max_len=40):
        super().__init__()
        pe = torch.zeros(max_len, d_model)
        position = torch.arange(0, max_len, dtype=torch.float).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2).float() * -(math.log(10000.0) / d_model))
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(0))
        self.layer_norm = nn.LayerNorm(d_model)
        self.attention = RelativeMultiHeadAttention(d_model, num_heads, dropout_p)
        self.dropout = nn.Dropout(p=dropout_p)

    def forward(self, inputs):
        batch_size, seq_length, _ = inputs.size()
        pos_embedding = self.pe[:, :seq_length]
        pos_embedding = pos_embedding.repeat(batch_size, 1, 1)
        inputs = self.layer_norm(inputs)
        outputs = self.attention(inputs, inputs, inputs, pos_embedding=pos_embedding)
        return self.dropout(outputs)


class Transpose(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.transpose(*self.shape)


class GLU(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, inputs):
        outputs, gate = inputs.chunk(2, dim=self.dim)
        return outputs * gate.sigmoid()


class ConformerConvModule(nn.Module):
    def __init__(self, in_channels, kernel_size=7, expansion_factor=2, own_glu=True):
        super().__init__()
        self.sequential = nn.Sequential(
            nn.LayerNorm(in_channels),
            Transpose(shape=(1, 2)),
            nn.Conv1d(in_channels, in_channels * expansion_factor, 1),
            GLU(dim=1) if own_glu else nn.GLU(dim=1),
            nn.Conv1d(
                in_channels,
                in_channels,
                kernel_size,
                padding=(kernel_size - 1) // 2,
                groups=in_channels,
                bias=False,
            ),
            nn.BatchNorm1d(in_channels),
            Swish() if own_glu else nn.SiLU(),
            nn.Conv1d(in_channels, in_channels, 1),
            nn.Dropout(0.1),
        )

    def forward(self, inputs):
        return self.sequential(inputs).transpose(1, 2)


class ResidualConnectionModule(nn.Module):
    def __init__(self, module, module_factor=1.0, input_factor=1.0):
        super().__init__()
        self.module = module
        self.module_factor = module_factor
        self.input_factor = input_factor

    def forward(self, inputs):
        return (self.module(inputs) * self.module_factor) + (inputs * self.input_factor)


class ConformerBlock(nn.Module):
    def __init__(self, encoder_dim=16, num_heads=2, own_glu=True):
        super().__init__()
        self.sequential = nn.Sequential(
            ResidualConnectionModule(FeedForwardModule(encoder_dim), module_factor=0.5),
            ResidualConnectionModule(MultiHeadedSelfAttentionModule(encoder_dim, num_heads)),
            ResidualConnectionModule(ConformerConvModule(encoder_dim, own_glu=own_glu)),
            ResidualConnectionModule(FeedForwardModule(encoder_dim), module_factor=0.5),
            nn.LayerNorm(encoder_dim),
        )

    def forward(self, inputs):
        return self.sequential(inputs)


class Conformer(nn.Module):
    def __init__(self, input_dim=12, encoder_dim=16, num_layers=1):
        super().__init__()
        self.input_projection = nn.Linear(input_dim, encoder_dim)
        self.layers = nn.ModuleList(
            [ConformerBlock(encoder_dim, own_glu=i == 0) for i in range(num_layers)]
        )

    def forward(self, inputs):
        outputs = self.input_projection(inputs)
        for layer in self.layers:
            outputs = layer(outputs)
        return outputs
